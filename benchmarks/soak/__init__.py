"""Run models under random load for a long time, and look for growth of memory, threads and open files."""
