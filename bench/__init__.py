"""Speed, measured: every figure a ratio within one run, against a plain reference or a peer.

`make bench`, or `python -m bench [NAME ...]`, writes RESULTS.md.
"""
