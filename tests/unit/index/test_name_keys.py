"""Person names: keys, words and sounds."""

# ruff: noqa: RUF001  (letters of many scripts are what is tested)

import pytest

from osteon.index.name_keys import MAX_KEY, fold, name_key, name_keys, sound, words


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Müller^Jörg", "muller^jorg"),
        ("MULLER^JORG^^^", "muller^jorg"),
        ("  De  la  Cruz ^ María ", "de la cruz^maria"),
        ("Groß^Æsa", "gross^aesa"),
        ("Łódź^Đorđe", "lodz^dorde"),
        ("İzmir^Işık", "izmir^isik"),
        ("Ｙａｍａｄａ", "yamada"),
        ("山田^太郎", "山田^太郎"),
        ("がぎぐ", "がぎぐ"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("Йорданов", "иорданов"),
        ("Ελένη", "ελενη"),
        ("김^희중", "김^희중"),
        ("^^", ""),
        ("", ""),
    ],
)
def test_a_key_has_no_case_accents_width_or_needless_spaces(name, key):
    assert name_key(name) == key


def test_a_key_is_its_own_key():
    for name in ("Müller^Jörg", "がぎぐ", "Groß", "김^희중", "O'Brien^Seán"):
        assert name_key(name_key(name)) == name_key(name)


def test_wildcards_survive_folding():
    assert name_key("MÜ*^J?rg*") == "mu*^j?rg*"


def test_composed_and_decomposed_letters_are_the_same():
    assert fold("M\u00fcller") == fold("Mu\u0308ller") == "muller"


def test_each_group_of_each_value_has_a_key():
    assert name_keys("Yamada^Tarou=山田^太郎=やまだ^たろう") == ("yamada^tarou", "山田^太郎", "やまだ^たろう")
    assert name_keys("Anna^A\\Bertha^B") == ("anna^a", "bertha^b")
    assert name_keys("=山田") == ("山田",)
    assert name_keys("Doe=DOE=doe\\Doe") == ("doe",)
    assert name_keys("==") == ()


def test_a_key_fits_into_an_index_page():
    assert len(name_key("ä" * 10_000).encode()) <= 4 * MAX_KEY
    assert len(name_key("\U00020000" * 10_000).encode()) <= 4 * MAX_KEY


def test_words_are_parted_at_components_spaces_and_hyphens_but_not_apostrophes():
    assert words("smith-jones^ann o'brien, jr.") == ("smith", "jones", "ann", "obrien", "jr")
    assert words("") == ()


@pytest.mark.parametrize(
    "alike",
    [
        ("meyer", "maier", "mayr", "meier", "majer"), ("smith", "schmidt", "smyth", "schmitt"), ("philip", "filip"),
        ("catherine", "katherine", "kathrin"), ("knight", "nite"), ("wright", "rite"), ("jones", "iones"),
        ("stephen", "steven"), ("muller", "mueller"), ("obrien", "obrian"), ("thomas", "tomas"),
    ],
)  # fmt: skip
def test_words_that_sound_alike_share_a_code(alike):
    assert len({sound(word) for word in alike}) == 1


@pytest.mark.parametrize("different", [("meyer", "miller"), ("smith", "jones"), ("anna", "otto"), ("kim", "lee")])
def test_words_that_sound_different_have_different_codes(different):
    assert len({sound(word) for word in different}) == 2


def test_only_latin_words_have_a_sound():
    assert sound("山田") is None
    assert sound("иванов") is None
    assert sound("3rd") is None
    assert sound("h") is None


def test_a_sound_is_short():
    assert len(sound("donaudampfschifffahrtsgesellschaft")) == 8
