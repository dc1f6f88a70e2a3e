"""Process a file in parts that can be resumed: `--input FILE --output DIR` of the commands that run models.

`task.py` says what a command does with a row, `source.py` and `parquet.py` read rows, `part.py` writes one part,
`state.py` pins what a run depends on, `run.py` runs the parts in this process, and `ray_cluster.py` on a Ray cluster.
"""
