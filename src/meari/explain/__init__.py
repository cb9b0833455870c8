"""What two programs ask of the kernel, call by call, and what it says of their connection just
after each.

row.py        a call that was made, as a value
recorder.py   what takes the place of net.kernel, and makes a row of each call; recorded.py: its sockets and pollers
table.py      the kernel's table of connections: both ends, accepted or not
stage.py      a scene: a process for each part, their rows in one order; board.py: their cues, and how they tell what they do
book.py       what a scene's programs are written with: open_listenfd, open_clientfd, as the book has them
scenes/       the scenes, each the answer to a question
timeline.py   the rows in one order, and what must have crossed between the two ends
known.py      what there is to say of each, in English and Korean
"""
