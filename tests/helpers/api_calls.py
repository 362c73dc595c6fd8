"""The calls of the Python API in a script without a ``__main__`` guard: run by CI from an installed wheel."""

import sys
from pathlib import Path

import bob

results = Path(sys.argv[1])
assert "site-packages" in str(bob.__file__), f"not the installed package: {bob.__file__}"
assert len(bob.list_backbones("params_m < 30")) > 10
x = bob.features("tf_efficientnet_lite0.in1k", "scenes:train=24,val=8,test=8", image_size=32)
assert x.features.shape == (40, 1280)
maps = bob.load_backbone("tf_efficientnet_lite0.in1k", pyramid=True, image_size=64)
assert maps.strides == (4, 8, 16, 32)
planned = bob.plan("smoke", results=results)
assert len(planned.jobs) == len(planned.done) == 14
assert not bob.fetch("smoke", results=results).missing
rows = bob.run("smoke", results=results, display="lines")
assert (rows["status"] == "ok").all()
assert bob.report(rows, out=results / "report-from-python").files["index.html"].is_file()
assert len(bob.load_results(results)) == len(rows) == 14
sys.stdout.write(f"{len(rows)} rows, {bob.__version__}\n")
