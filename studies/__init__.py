"""Studies of accuracy and of equal behaviour; each is a command of its own."""
