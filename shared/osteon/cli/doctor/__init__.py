"""`osteon doctor`: looks at each part that Osteon needs, and says what is wrong and how to fix it.

`table` lists the probes, one module a part; `runner` runs them side by side; `report` shows what was found.
"""
