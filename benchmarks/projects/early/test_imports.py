import time

# What importing a large application takes.
time.sleep(5)
