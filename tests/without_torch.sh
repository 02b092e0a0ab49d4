#!/usr/bin/env bash
# A recipe made in the training environment is inspected in one that holds only the runtime.
# usage: tests/without_torch.sh PYTHON TRAINING_VENV [WHEEL]; without a wheel this tree is built
set -euo pipefail
python=$1 training=$2 what=${3:-.}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$training/bin/python" - "$work/good" <<'PY'
import sys
from pathlib import Path
import av
import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir()
rng = np.random.default_rng(0)
for index in range(3):
    Image.fromarray(rng.integers(90, 160, (200, 300, 3), np.uint8)).save(folder / f"{index}.png")
with av.open(str(folder.parent / "cloth.mp4"), "w") as container:
    stream = container.add_stream("libx264", rate=30)
    stream.width, stream.height = 320, 240
    for index in range(5):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rng.integers(90, 160, (240, 320, 3), np.uint8))))
    container.mux(stream.encode())
PY
"$training/bin/train-and-export" --images "$work/good" --product cloth --steps 5 \
  --engine "$work/engine" --out "$work/cloth.safetensors" >/dev/null

"$python" -m venv "$work/line"
"$work/line/bin/pip" install --quiet "$what[cpu,watch]"
"$work/line/bin/python" - <<'PY'
import importlib.util
found = [name for name in ("torch", "open_clip", "onnx", "pandas", "tqdm") if importlib.util.find_spec(name)]
assert not found, f"the runtime's environment holds {found}"
PY
# In the checkout, whose folder goodparts comes first, the installed package is found all the same.
cd "$here/.."
"$work/line/bin/python" -c "import goodparts._native, goodparts.runtime.detector"

cd "$work"
"$work/line/bin/goodparts" inspect --engine engine --recipe cloth.safetensors good --json out.jsonl --overlays pictures
test "$(wc -l <out.jsonl)" = 3
test "$(ls pictures | wc -l)" = 3
"$work/line/bin/goodparts" watch --engine engine --recipe cloth.safetensors --source cloth.mp4 --json watched.jsonl
test "$(wc -l <watched.jsonl)" = 5
# A product is learned here too, with the engine in the package.
started=$(date +%s.%N)
"$work/line/bin/goodparts" try good --out try.html
tried=$(date +%s.%N)
grep -q "Highest scores first" try.html
"$work/line/bin/goodparts" teach --images good --product cloth --out taught.safetensors
"$work/line/bin/goodparts" inspect --recipe taught.safetensors good --json taught.jsonl
ended=$(date +%s.%N)
test "$(wc -l <taught.jsonl)" = 3
seconds() { "$python" -c "print(f'{$2 - $1:.1f} s')"; }
echo "first verdict, by try: $(seconds "$started" "$tried"); teach and inspect: $(seconds "$tried" "$ended");" \
  "the environment has $(du -sm line | cut -f1) MB"
"$work/line/bin/python" "$here/wheel.py"
# What is missing is named, in one line, with the way to get it.
"$work/line/bin/train-and-export" --help >/dev/null
learn=("$work/line/bin/train-and-export" --images good --product cloth --engine engine --out new.safetensors)
if message=$("${learn[@]}" 2>&1); then exit 1; fi
[[ "$message" == 'train-and-export: needs '*': pip install ".[train]" in the checkout of goodparts' ]] \
  || { echo "$message"; exit 1; }
echo "runtime without torch: passed"
