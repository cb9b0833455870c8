"""The keyed stream: its bytes, the classification of faults in what returns, and the verifier."""
