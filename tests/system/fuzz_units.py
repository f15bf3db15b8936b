"""Sound TOML for the fuzz test: a unit file and a study."""

UNIT = b"""name = "Handle"
source = "usb:2ce3:9563:0042"
polarised = true
[camera]
width_px = 1920
height_px = 1080
format = "MJPG"
exposure_ms = 12.5
[picture]
field_px = [960, 540, 1000]
rotate_deg = 90
mm_per_px = 0.0125
[colour]
matrix = [[1.1, -0.05, 0.0], [0.0, 1.2, 0.0], [0, 0, 1]]
[[button]]
key = "KEY_CAMERA"
[coach]
focus = -5.2
"""
STUDY = b"""name = "wide"
folds = 3
decide_on = [0, 1]
[[candidates]]
name = "control"
recipe = "ckdnet-mobile"
seeds = [0, 1]
settings = ["stages.seg.epochs=2"]
figures = ["mean_auc"]
[elsewhere]
MEL = "MEL"
"""
