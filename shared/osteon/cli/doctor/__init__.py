"""`osteon doctor`: checks each part that Osteon needs, and reports what is wrong and how to fix it.

`table` lists the probes, one module a part. `runner` runs them concurrently, and `report` prints their findings.
"""
