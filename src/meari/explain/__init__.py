"""The system calls of two programs, and the state of their connection just after each.

row.py        one call, as a value
recorder.py   replaces net.kernel and makes a row of each call; recorded.py: its sockets and pollers
observed.py   what the kernel reports about a call
table.py      the kernel's table of connections: both ends, accepted or not
stage.py      plays a scene: a process for each part; board.py: their cues and reports
book.py       the functions of a scene's programs: open_listenfd, open_clientfd, as in the book
tls_rio.py    the same over TLS, and the records that were written
scenes/       the scenes, each the answer to a question
timeline.py   the rows in one order, and the segments that must have crossed
facts.py      the sentences about each call, in English and Korean
symbols.py    constants and structures as strace(1) writes them
"""
