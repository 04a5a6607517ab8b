"""A base that another spec trains: what is planned, what is refused, and that every cure is the command that helps."""

import pytest
from conftest import TINY, Project

HEAD, _, _ = TINY.partition("features:")
SHOP = HEAD.replace("name: tiny", "name: shop") + "model: {base: {spec: tiny.yaml}, training: {epochs: 1}}\n"


@pytest.fixture
def shop(project: Project) -> Project:
    """`shop.yaml`, which starts from the model of `tiny.yaml`."""
    (project.folder / "shop.yaml").write_text(SHOP, encoding="utf-8")
    return project


def test_a_base_is_looked_for_where_its_target_makes_it_and_the_cure_names_that_target(shop: Project) -> None:
    for name in ("tiny.yaml", "shop.yaml"):
        with (shop.folder / name).open("a", encoding="utf-8") as file:
            file.write("targets: {prod: {model: {training: {epochs: 2}}}}\n")
    said = shop.run("plan", "shop.yaml", "--target", "prod").stdout
    assert "the model of tiny.yaml has not been made: llmspec apply tiny.yaml --target prod --select +model" in said


def test_a_base_that_is_kept_in_another_store_is_refused_with_its_line(shop: Project) -> None:
    shop.write(TINY + "store: elsewhere\n")
    said = shop.run("plan", "shop.yaml", check=False)
    assert said.returncode == 2
    assert "model.base.spec: its model is kept in elsewhere, and what is made here in .llmspec/store" in said.stderr
    assert "name the same `store:` in tiny.yaml" in said.stderr


def test_specs_that_start_from_one_another_are_told_so_before_any_of_them_is_made(shop: Project) -> None:
    shop.write(SHOP.replace("name: shop", "name: tiny").replace("spec: tiny.yaml", "spec: shop.yaml"))
    said = shop.run("plan", "shop.yaml", check=False)
    assert (said.returncode, "in a circle: shop.yaml → tiny.yaml → shop.yaml" in said.stderr) == (2, True)


def test_a_damaged_base_is_neither_read_nor_trained_from_and_the_cure_makes_it_again(applied: Project) -> None:
    (applied.folder / "shop.yaml").write_text(SHOP, encoding="utf-8")
    (weights,) = applied.store.glob("tiny/model/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    said = applied.run("apply", "shop.yaml", "--select", "+features", "--yes", check=False)
    assert said.returncode == 1
    assert "damaged and set aside; make it again: llmspec apply tiny.yaml --select +model" in said.stdout
    assert not list(applied.store.glob("shop/features/*/manifest.json"))
    applied.run("apply", "tiny.yaml", "--select", "+model", "--yes")
    applied.run("apply", "shop.yaml", "--select", "+features", "--yes")
