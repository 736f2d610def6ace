"""What `to_onnx.py` is made of.

`launch` needs no packages: it checks what can be checked at once and starts the rest in an environment that has them.
`convert` is the order of events. The modules `from_*` know one library each and make an `Original`; everything after that
(exporting aside, which is the original's own matter) is the same for all of them.
"""
