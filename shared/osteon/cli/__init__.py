"""The command line `osteon`: `main` is the entry point, and each command is a module or a package here.

`doctor` checks what a service needs; `scu` holds the DICOM clients `echo`, `find`, `get`, `move` and `send`; `sizing`
calculates hardware. Commands that need a service's code, such as `verify`, are in that service.
"""
