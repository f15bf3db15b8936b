# Two commands for a newcomer: `make demo` and `make test`. Everything lands in .venv*/ and runs/.
# Three tiers of tests: `make check` for every edit (under a minute), `make test` for every commit
# (minutes), `make system` for what needs browsers, other Pythons, or time.

PYTHON ?= python3
IMAGE ?=
MINUTES ?= 30
RECORD ?=
OUT ?= dist/release
TARGET :=
PIP = -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST = .venv/bin/python -m pytest
# Of everything that a quick edit can break, what is tested in seconds.
QUICK = $(addprefix tests/,architecture/test_exports.py architecture/test_services.py contract picture finding capture console data scores)

# Tests start hundreds of processes: compiled sources are kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo check test system lint soak load fuzz kept rate study-env bundle sign pins sbom release clean

demo: .venv-run/installed ## Analyse IMAGE (or a generated one) with the embedded networks
	@test -n "$(IMAGE)" -o -d runs/demo-images || \
		.venv-run/bin/ckd-train data generate runs/demo-images --num-train 3 --num-val 1 --side-px 512
	.venv-run/bin/ckd-run image $(or $(IMAGE),runs/demo-images/ISIC-2017_Training_Data) --out runs/demo

check: lint ## Lint, types, import rules and the quickest tests
	$(PYTEST) -q -m "not slow and not system" $(QUICK)

test: lint ## Lint, types, import rules, documentation and every test that needs no service
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations 10

system: .venv/installed ## Tests with browsers and other Pythons; soak, load, fuzz and kept
	$(PYTEST) -m system --durations 10

# The same as in `make system`, for MINUTES, with the counts in the file RECORD if it is named; of
# fuzz's targets all, or TARGET alone.
# `rate` is not among those: it measures, and wants the machine for itself.
soak load fuzz kept rate: .venv/installed
	PYTHONPATH=tests/support .venv/bin/python tests/system/$@.py --minutes $(MINUTES) \
		$(if $(RECORD),--record $(RECORD)) $(if $(and $(TARGET),$(filter fuzz,$@)),--target $(TARGET))

# A wheel of the last commit in an environment of its own, so that a study of days does not change
# while its code is worked on: make study-env AT=../study-env
study-env: .venv/installed
	@test -n "$(AT)" || { echo "name the folder to make: make study-env AT=FOLDER"; exit 2; }
	@test -z "$$(git status --porcelain)" || { echo "commit or put away your changes first"; exit 2; }
	rm -rf build/study && .venv/bin/python -m build --wheel --outdir build/study .
	$(PYTHON) -m venv "$(AT)"
	"$(AT)"/bin/python $(PIP) "$$(ls build/study/*.whl)[export,openvino]"

# The embedded bundle of a study's winner: make bundle RUN=../study/NAME/all DATA=ISIC2017 [NOTES=FILE.md]
bundle: .venv/installed
	benchmarks/bundle.sh "$(RUN)" "$(DATA)" $(NOTES)

# Last, when files of the embedded bundle changed: CKD_RELEASE_KEY=FILE make sign
sign: .venv/installed
	.venv/bin/python -m ckd.export.release

# After a change of what devices install or of its versions.
pins: .venv/installed
	.venv/bin/python -m ckd.export.supply.pins

# What `make demo` installed, in runs/sbom.json, and whether it may be.
sbom: .venv/installed .venv-run/installed
	mkdir -p runs
	.venv/bin/python -m ckd.export.supply.sbom write .venv-run/bin/python runs/sbom.json

# Of the last commit: CKD_RELEASE_KEY=FILE make release [OUT=FOLDER]
release: .venv/installed
	.venv/bin/python -m ckd.export.supply.release_folder "$(OUT)"

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# What a device needs, and nothing else: no torch.
.venv-run/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-run
	.venv-run/bin/python $(PIP) --editable ".[cpu]"
	touch $@

# Everything: training, export, development tools. A few GB, most of it torch.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) "pip>=25.1"
	.venv/bin/python $(PIP) --editable ".[export,openvino,heic,dicom]" --group dev
	@# A reference for one test. Without what it depends on: its opencv-python would overwrite ours.
	.venv/bin/python $(PIP) --no-deps grad-cam==1.5.7 ttach==0.0.3 || \
		echo "without grad-cam: the test against it is skipped"
	touch $@

clean:
	rm -rf .venv .venv-* build dist # runs/ holds trained networks: remove it by hand
