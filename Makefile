# SPDX-License-Identifier: Apache-2.0
# Everything a fresh checkout needs: Python 3.11 to 3.13 and make. Each target makes its own .venv.

# The first Python that can make a virtual environment; `make PYTHON=/path/to/python demo` overrides.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	if "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	>/dev/null 2>&1; then echo "$$name"; break; fi; done)

VENV := .venv
ifeq ($(OS),Windows_NT)
VENV_PYTHON := $(VENV)/Scripts/python
else
VENV_PYTHON := $(VENV)/bin/python
endif
INSTALLED := $(VENV)/.installed
SOURCES := ReadingRoomCore:MuscleSeg:HeadCTTriage:BrainTumorClassify:TemporalSubtraction:LandmarkPretrain:Testing/Host
RUN := PYTHONPATH=$(SOURCES) PYTHONUNBUFFERED=1 $(VENV_PYTHON)
# Two processes: a file of tests stays in one, with what it prepares once. One thread each, because
# four on two cores wait for each other most of the time.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile
MUSCLES := $(RUN) -m MuscleSegLib
STARTER := $(RUN) -m MuscleSegLib.starter
SUBTRACTION := $(RUN) -m TemporalSubtractionLib.starter
TRIAGE := $(RUN) -m HeadCTTriageLib.starter
TUMORS := $(RUN) -m BrainTumorClassifyLib.starter
LANDMARKS := $(RUN) -m LandmarkPretrainLib.starter
# Where the label maps for training are; they are not part of the repository.
DATA ?= ../shared/data
ANY_CONTRAST := simulated scans of 54 patients (deformed from three published label maps of the \
	pelvis, Hiasa et al., MIT licence; repainted in random grey values) with segmentations of 22 \
	structures
# Models that did not see one subject each, to measure on it.
FOLDS := Testing/Benchmarks/Folds
SUBTRACTION_FOLDS := Testing/Benchmarks/SubtractionFolds
TESTS := Testing/Repository Testing/Core Testing/Host Testing/Slicer Testing/CMake

.DEFAULT_GOAL := help
.PHONY: help install demo test lint models folds bench photos clean

help:
	@echo "ReadingRoom"
	@echo
	@echo "  make demo     segment a real CT, draw the pictures, write demo/index.html  (about 3 minutes)"
	@echo "  make test     run every test                                           (10 to 20 minutes)"
	@echo
	@echo "  make lint     check style with ruff"
	@echo "  make photos   take the pictures of the documents from the demo"
	@echo "  make models   train the starter models again                              (hours)"
	@echo "  make folds    train without one subject each, for make bench              (hours)"
	@echo "  make bench    measure accuracy, speed and memory"
	@echo "  make clean    remove .venv and everything made by the targets above"
	@echo
	@echo "The first call makes .venv and installs the pinned packages: some minutes, about 5 GB."

$(INSTALLED): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "ReadingRoom needs Python 3.11, 3.12 or 3.13 with its venv module."; \
		echo "Install it (Debian and Ubuntu: apt install python3-venv; else python.org),"; \
		echo "or name it: make PYTHON=/path/to/python3.12 demo"; \
		exit 1; \
	fi
	@echo "[1/2] Making $(VENV) with $(PYTHON)"
	@[ -x $(VENV_PYTHON) ] || "$(PYTHON)" -m venv $(VENV)
	@echo "[2/2] Installing the pinned packages (once; some minutes)"
	@$(VENV_PYTHON) -m pip install --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $(INSTALLED)

install: $(INSTALLED)
	@echo "Ready. Try: $(VENV_PYTHON) -m MuscleSegLib --help"

demo: $(INSTALLED)
	@$(RUN) -m demo.muscleseg --output demo

test: $(INSTALLED)
	@echo "Running $(TESTS)"
	@$(PYTEST) $(TESTS)

lint: $(INSTALLED)
	@$(VENV_PYTHON) -m ruff check .

models: $(INSTALLED)
	@if [ ! -d "$(DATA)/pelvic_muscle_labels" ]; then \
		echo "make models needs the label maps the model learns from, which are not part of this"; \
		echo "repository. Name their folder: make models DATA=/folder/with/label/maps"; \
		echo "The model card, MuscleSeg/MuscleSegLib/Models/starter/docs/README.md, names them."; \
		exit 1; \
	fi
	$(STARTER) train --data "$(DATA)" --work training/modern
	$(STARTER) export --work training/modern --scores build/bench
	$(STARTER) train --recipe seed --larger-pixels 2 --dropout 0.1 --data "$(DATA)" \
		--work training/seed-large
	$(STARTER) export --recipe seed --work training/seed-large --output training/seed-start
	$(STARTER) train --recipe seed --start training/seed-start --data "$(DATA)" \
		--work training/seed
	$(STARTER) export --recipe seed --work training/seed
	$(MUSCLES) simulate --anatomies "$(DATA)/pelvic_muscle_labels" --patients 60 --validation 6 \
		--seed 311 --output training/any-contrast-patients --overwrite
	$(MUSCLES) train --data training/any-contrast-patients/datalist.json --folds 0 --samples 4 \
		--intensities random --steps 5000 --batch 8 --work training/any-contrast-training \
		--output training/any-contrast --overwrite
	$(STARTER) include --model training/any-contrast/model --name starter-any-contrast \
		--trained-on "$(ANY_CONTRAST)"
	$(MUSCLES) simulate --anatomies "$(DATA)/pelvic_muscle_labels" --patients 45 --seed 311 \
		--output training/muscle-patients --overwrite
	$(MUSCLES) confidence training/muscle-patients/datalist.json --samples 4 \
		--output training/muscle-confidence --overwrite
	$(STARTER) calibrate --calibration training/muscle-confidence/calibration.json
	$(SUBTRACTION) pairs --data "$(DATA)" --work training/subtraction
	$(SUBTRACTION) calibrate --work training/subtraction
	@for recipe in modern seed; do \
		for fold in "" "--fold 0" "--fold 1" "--fold 2" "--fold 3"; do \
			$(SUBTRACTION) train --recipe $$recipe --work training/subtraction $$fold \
				|| exit 1; \
		done; \
		$(SUBTRACTION) export --recipe $$recipe --work training/subtraction \
			--folds $(SUBTRACTION_FOLDS) --scores build/bench || exit 1; \
	done
	@for fold in "" "--fold 0" "--fold 1"; do \
		$(RUN) -m TemporalSubtractionLib.anomaly_starter train --data "$(DATA)" \
			--work training/anomaly $$fold || exit 1; \
	done
	$(RUN) -m TemporalSubtractionLib.anomaly_starter export --data "$(DATA)" \
		--work training/anomaly --folds Testing/Benchmarks/AnomalyFolds --scores build/bench
	$(TRIAGE) patients --work training/triage
	$(TRIAGE) train --camera 0.1 --work training/triage
	@for split in patient image; do \
		$(TRIAGE) train --recipe seed --split $$split --work training/triage \
			--start "$(DATA)/weights_imagenet_alexnet_features/alexnet_lpips.npz" || exit 1; \
	done
	$(TRIAGE) export --work training/triage --photos 200 \
		--pictures "$(DATA)/headct_haemorrhage_200png"
	$(TRIAGE) export --recipe seed --work training/triage \
		--pictures "$(DATA)/headct_haemorrhage_200png"
	$(TUMORS) patients --work training/tumors
	$(TUMORS) train --work training/tumors
	$(TUMORS) export --work training/tumors
	$(LANDMARKS) patients --data "$(DATA)" --work training/landmarks
	$(LANDMARKS) train --work training/landmarks
	$(LANDMARKS) train --recipe seed --work training/landmarks
	@echo "Look at: MuscleSeg/MuscleSegLib/Models, and the cards in docs/README.md there"

folds: $(INSTALLED)
	@for case in 001 002 005; do \
		$(STARTER) train --data "$(DATA)" --without $$case --work training/without-$$case && \
		$(STARTER) export --work training/without-$$case --stored int8 \
			--output $(FOLDS)/$$case || exit 1; \
	done
	@echo "Now: make bench"

bench: $(INSTALLED)
	@if [ -d "$(DATA)/pelvic_muscle_labels" ]; then \
		$(RUN) Testing/Benchmarks/run.py --data "$(DATA)" --folds $(FOLDS); \
	else \
		echo "Without the label maps in $(DATA) the held-out subjects are left out."; \
		$(RUN) Testing/Benchmarks/run.py; \
	fi

photos: $(INSTALLED)
	@[ -f demo/muscleseg/overview.png ] || $(RUN) -m demo.muscleseg --output demo
	@mkdir -p Docs/pictures
	@cp demo/muscleseg/overview.png Docs/pictures/MuscleSeg-overview.png
	@$(RUN) -m slicerhost photo MuscleSeg Docs/pictures/MuscleSeg-panel.png \
		--scene $(CURDIR)/demo/muscleseg/scene.mrb
	@$(RUN) -m demo.temporal_subtraction Docs/pictures
	@$(RUN) -m demo.head_ct_triage Docs/pictures
	@$(RUN) -m demo.brain_tumor_classify Docs/pictures
	@$(RUN) -m demo.landmark_pretrain Docs/pictures
	@$(RUN) -m demo.reader_study Docs/pictures
	@echo "Look at: Docs/pictures"

clean:
	rm -rf $(VENV) demo build .pytest_cache .ruff_cache .hypothesis readingroom.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
