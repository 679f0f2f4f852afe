"""The 8x8 digits that every copy of the package carries: seconds, and no download."""

from dataclasses import replace

from qnn_ref.experiments.recipe import Recipe

DIGITS = Recipe(
    name="digits",
    about="64-256-256-10 on 8x8 digits, binary, seconds",
    dataset="digits",
    hidden=(256, 256),
    epochs=60,
    validation=200,
    final_rate=3e-5,
)

DIGITS_FLOAT = replace(DIGITS, name="digits-float", about="its float twin", binary=False)
