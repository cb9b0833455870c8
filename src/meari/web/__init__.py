"""HTTP servers: Tiny.

conversation.py  one connection: requests in, responses out, in order
response.py      a response as a value, and the page of an error
files.py         Tiny's static files: a request -> a response
"""
