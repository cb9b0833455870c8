"""HTTP servers: Tiny, and the far end.

conversation.py  one connection: requests in, responses out, in order
exchange.py      a request whose response is made while it arrives, or later
response.py      a response as a value, and the page of an error
files.py         Tiny's static files: a request -> a response
cgi.py           Tiny's programs: a request -> an environment; program.py runs one
far_end.py       the far end's endpoints and limits; exchanges.py implements them
websocket.py     the far end's WebSocket
status.py        its page (status.html), its numbers, metrics and health
"""
