# Two commands for a newcomer: `make demo` and `make test`. Everything lands in .venv*/ and runs/.

PYTHON ?= python3
IMAGE ?=
PIP = -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv-run/installed ## Analyse IMAGE (or a generated one) with the embedded networks
	@test -n "$(IMAGE)" -o -d runs/demo-images || \
		.venv-run/bin/ckd-train data generate runs/demo-images --num-train 3 --num-val 1 --side-px 512
	.venv-run/bin/ckd-run image $(or $(IMAGE),runs/demo-images/ISIC-2017_Training_Data) --out runs/demo

test: lint ## Lint, types, import rules and every test
	.venv/bin/python -m pytest -n 2 --dist loadfile

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# What a device needs, and nothing else: no torch.
.venv-run/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-run
	.venv-run/bin/python $(PIP) --editable ".[cpu]"
	touch $@

# Everything: training, export, development tools. A few GB, most of it torch.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) "pip>=25.1"
	.venv/bin/python $(PIP) --editable ".[export,openvino]" --group dev
	@# A reference for one test. Without what it depends on: its opencv-python would overwrite ours.
	.venv/bin/python $(PIP) --no-deps grad-cam==1.5.7 ttach==0.0.3 || \
		echo "without grad-cam: the test against it is skipped"
	touch $@

clean:
	rm -rf .venv .venv-* build dist # runs/ holds trained networks: remove it by hand
