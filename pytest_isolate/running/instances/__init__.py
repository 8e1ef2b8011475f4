"""The instances of a run: who starts which, and when it goes. The story of one is Starter.start."""
