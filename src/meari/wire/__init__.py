"""What an end says, with no I/O: bytes in, bytes out."""
