"""The paper's errors stand once in its table and once in each recipe: they are the same."""

from qnn_ref.experiments import RECIPES
from qnn_ref.experiments.tables import TABLE_1


def test_table_1_names_the_recipes_that_name_its_errors():
    ours = {row.recipe: row for row in TABLE_1 if row.recipe}
    assert len(ours) == 6
    for name, row in ours.items():
        recipe = RECIPES[name]
        assert recipe.dataset == row.dataset
        assert f"(paper: {row.error:.2f} %)" in recipe.about
    named = {name for name, recipe in RECIPES.items() if "(paper: " in recipe.about}
    assert named == ours.keys()


def test_a_method_has_one_error_for_a_data_set():
    assert len({(row.method, row.dataset) for row in TABLE_1}) == len(TABLE_1)
