"""The master: boot, generations, shutdown, and the verdict on each death."""
