"""planrt-convert: a model becomes a folder that an application loads with one call, and a page that shows why to believe it.

`cli` reads the command line; `source` loads a model and makes ONNX of it; `graph` says which operators became which; `numbers` holds
results against each other; `plans` builds; `search` finds what must stay float32; `speed` measures, `gpu` the clocks meanwhile; `overlay` draws; `steps` does it all in order, and goes on where it was
interrupted; `report` writes the page.
"""
