import dataclasses

import numpy as np
import pytest

from frazil.core.errors import MissingTomogramError, PickError, SettingsError, SourceError
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.plan import check_plan, make_plan, plan_warnings
from frazil.dataset.tables import BOX_CENTER, CENTER_VOXEL, POSITION


def plan_of(source, source_settings=None, **settings):
    return make_plan(source, source_settings or SourceSettings(), CurateSettings(**{"box_size_voxel": 8} | settings))


def reasons(plan):
    return plan.particles["reason"].tolist()


def test_places_in_voxels_and_as_share_of_the_extent(make_source):
    plan = plan_of(make_source({("a", "ribosome"): [[6, 15, 9.4], [-0.3, 0, 35]]}, voxel_sizes={"a": 7.5}))
    np.testing.assert_allclose(plan.particles[CENTER_VOXEL], [[6, 15, 9.4], [-0.3, 0, 35]], atol=1e-12)
    np.testing.assert_allclose(plan.particles[POSITION], [[6 / 24, 0.5, 9.4 / 36], [0, 0, 35 / 36]], atol=1e-12)
    assert plan.particles[BOX_CENTER].to_numpy().tolist() == [[6, 15, 9], [0, 0, 35]]
    assert plan.voxel_size_angstrom == 7.5
    assert plan.ratio("a") == 1


def test_resampled_boxes_are_centred_exactly_in_their_own_voxels(make_source):
    plan = plan_of(make_source({("a", "ribosome"): [[6, 15, 9.4]]}), voxel_size_angstrom=20)
    np.testing.assert_allclose(plan.particles[BOX_CENTER], [[3, 7.5, 4.7]])
    assert plan.ratio("a") == 2


def test_the_same_voxel_size_but_for_rounding_is_not_resampled(make_source):
    plan = plan_of(
        make_source({("a", "ribosome"): [[6, 15, 9.4]]}, voxel_sizes={"a": 10.012444}), voxel_size_angstrom=10.0125
    )
    assert plan.ratio("a") == 1
    assert plan.particles[BOX_CENTER].to_numpy().tolist() == [[6, 15, 9]]


def test_the_real_counts_come_from_the_picks(source):
    plan = plan_of(source)
    assert [(count.label, count.found, count.used) for count in plan.counts()] == [
        ("apo-ferritin", 2, 2),
        ("ribosome", 5, 5),
    ]
    check_plan(plan)
    assert plan_warnings(plan) == []


def test_a_class_that_was_not_asked_for_stays_as_a_neighbour(source):
    plan = plan_of(source, SourceSettings(labels=("ribosome",)))
    assert plan.labels == ("ribosome",)
    assert reasons(plan).count("another class than asked for") == 2
    assert len(plan.to_cut()) == 5


def test_an_unknown_class_is_refused_with_those_that_exist(source):
    with pytest.raises(PickError, match=r"no picks of label nucleosome; choose among apo-ferritin, ribo"):
        plan_of(source, SourceSettings(labels=("nucleosome",)))


def test_an_empty_class_is_said_and_refused_where_it_was_asked_for(make_source):
    source = make_source({("a", "ribosome"): [[9, 9, 9]], ("a", "empty"): []})
    plan = plan_of(source)
    check_plan(plan)
    assert plan_warnings(plan) == ["label empty has no picks"]
    assert plan.counts()[0].found == 0
    with pytest.raises(PickError, match="label empty was requested"):
        check_plan(plan_of(source, SourceSettings(labels=("empty",))))


def test_no_picks_at_all(make_source):
    with pytest.raises(PickError, match="have no particles"):
        check_plan(plan_of(make_source({("a", "empty"): []})))


def test_a_missing_tomogram_is_said_and_counted(source):
    del source.volumes["bb"]
    plan = plan_of(source)
    check_plan(plan)
    assert reasons(plan).count("no tomogram") == 3
    (line,) = plan_warnings(plan)
    assert "bb has no tomogram, its 3 picks are left out" in line
    assert "there are a, ccc" in line


def test_many_missing_tomograms_do_not_flood_the_screen(make_source):
    source = make_source({(f"run{number:02d}", "ribosome"): [[9, 9, 9]] for number in range(12)})
    source.volumes = {"run00": source.volumes["run00"]}
    (line,) = plan_warnings(plan_of(source))
    names = ", ".join(f"run{number:02d}" for number in range(1, 9))
    assert line == (
        f"11 runs have no tomogram ({names}, ...), their 11 picks are left out: "
        "somewhere/fake: no tomogram of run01; there are run00"
    )


def test_other_reasons_get_other_lines(make_source):
    source = make_source({(run, "ribosome"): [[9, 9, 9]] for run in ("TS_1", "TS_10", "TS_2", "TS_3")})
    header = source.header

    def fail(run):
        if run == "TS_3":
            return header(run)
        raise MissingTomogramError(f"x/{run}/t.zarr: level {1 if run == 'TS_2' else 0} is missing")

    source.header = fail
    assert plan_warnings(plan_of(source)) == [
        "2 runs have no tomogram (TS_1, TS_10), their 2 picks are left out: x/TS_1/t.zarr: level 0 is missing",
        "TS_2 has no tomogram, its 1 picks are left out: x/TS_2/t.zarr: level 1 is missing",
    ]


def test_a_damaged_tomogram_is_not_a_missing_one(source):
    def fail(run):
        raise SourceError(f"{run}: damaged; copy it again")

    source.header = fail
    with pytest.raises(SourceError, match="a: damaged; copy it again"):
        plan_of(source)


def test_no_tomogram_at_all_is_refused_but_the_picks_are_counted(source):
    source.volumes = {}
    plan = plan_of(source)
    assert sum(count.found for count in plan.counts()) == 7
    assert np.isnan(plan.voxel_size_angstrom)
    assert plan_warnings(plan) == []  # check_plan says it all
    with pytest.raises(MissingTomogramError, match=r"no tomogram of a; .*\(2 more runs have no tomogram either\)"):
        check_plan(plan)


def test_picks_outside_are_refused_with_the_remedy(make_source):
    source = make_source({("a", "ribosome"): [[9, 9, 9], [9, 30, 9]], ("b", "ribosome"): [[-1, 3, 3]]})
    with pytest.raises(PickError, match="--drop-outside") as raised:
        check_plan(plan_of(source))
    message = str(raised.value)
    assert "1 of 2 picks of a lie outside the tomogram (and 1 in other runs)" in message
    assert "ribosome at voxel (9.0, 30.0, 9.0) of 24 x 30 x 36 (zyx, 10.000 A)" in message
    assert "true voxel size" in message
    plan = plan_of(source, drop_outside=True)
    check_plan(plan)
    assert reasons(plan) == ["", "outside the tomogram", "outside the tomogram"]


def test_nothing_left_to_cut(make_source):
    with pytest.raises(PickError, match="no pick is left to cut \\(1 outside the tomogram\\)"):
        check_plan(plan_of(make_source({("a", "ribosome"): [[99, 9, 9]]}), drop_outside=True))


def test_duplicates_are_of_one_class_in_one_run(make_source):
    places = {
        ("a", "ribosome"): [[9, 9, 9], [9.3, 9, 9], [9, 9, 10]],
        ("a", "apo-ferritin"): [[9, 9, 9]],
        ("b", "ribosome"): [[9, 9, 9]],
    }
    plan = plan_of(make_source(places))
    assert reasons(plan) == ["", "", "duplicate", "", ""]
    assert plan.particles["duplicate"].sum() == 1


def test_a_duplicate_of_a_class_not_asked_for_is_known_too(make_source):
    source = make_source({("a", "ribosome"): [[9, 9, 9]], ("a", "apo-ferritin"): [[5, 5, 5], [5, 5, 5]]})
    plan = plan_of(source, SourceSettings(labels=("ribosome",)))
    assert plan.particles["duplicate"].tolist() == [False, True, False]


def test_tomograms_of_different_voxel_size_want_resampling(make_source):
    source = make_source(
        {("a", "ribosome"): [[9, 9, 9]], ("b", "ribosome"): [[9, 9, 9]]}, voxel_sizes={"a": 10.0, "b": 13.3}
    )
    with pytest.raises(SettingsError, match=r"a 10.000 A, b 13.300 A\); resample all boxes to 13.300 A"):
        plan_of(source)
    plan = plan_of(source, voxel_size_angstrom=13.3)
    assert plan.ratio("a") == pytest.approx(1.33)
    assert plan.ratio("b") == 1


def test_the_tilt_range_is_known_where_all_agree(source):
    source.tilts = dict.fromkeys(["a", "bb", "ccc"], (-45.0, 45.0))
    assert plan_of(source).tilt_range_degrees == (-45, 45)
    source.tilts["bb"] = (-60.0, 60.0)
    plan = plan_of(source)
    assert plan.tilt_range_degrees is None
    assert plan_warnings(plan) == ["the tomograms differ in tilt range, so the store names none"]


def test_several_annotators_are_said(source):
    again = [dataclasses.replace(picks, user="me", session="2") for picks in source.all_picks[:1]]
    source.all_picks = [*(dataclasses.replace(picks, user="you", session="1") for picks in source.all_picks), *again]
    (line,) = plan_warnings(plan_of(source))
    assert "1 cases" in line
    assert "me (session 2), you (session 1)" in line


def test_an_unknown_validation_run(source):
    with pytest.raises(SettingsError, match=r"validation run x: no such run .* there are a, bb, ccc"):
        check_plan(plan_of(source, validation_runs=("x",)))


def test_the_digest_knows_what_decides_the_boxes(source):
    digest = plan_of(source).digest
    assert plan_of(source).digest == digest
    assert plan_of(source, split_by="particle", seed=3).digest == digest  # the split is decided after cutting
    assert plan_of(source, box_size_voxel=16).digest != digest
    assert plan_of(source, SourceSettings(labels=("ribosome",))).digest != digest
    source.all_picks[0].centers_angstrom[0, 0] += 1e-3
    assert plan_of(source).digest != digest


def test_a_crop_counts_from_where_it_was_cut_out(make_source, monkeypatch):
    source = make_source({("a", "ribosome"): [[9, 10, 12]]})
    header = dataclasses.replace(source.header("a"), first_voxel_angstrom=(0.0, -20.0, 50.0))
    monkeypatch.setattr(source, "header", lambda run: header)
    plan = plan_of(source)
    np.testing.assert_allclose(plan.particles[CENTER_VOXEL], [[9, 12, 7]])
    assert plan.digest != plan_of(make_source({("a", "ribosome"): [[9, 10, 12]]})).digest


def test_two_classes_at_the_same_places_are_said(make_source):
    places = {("a", "ribosome"): [[9, 9, 9], [12, 12, 12]], ("a", "copy"): [[9, 9, 9], [12, 12, 12], [7, 8, 9]]}
    (line,) = plan_warnings(plan_of(make_source(places)))
    assert line.startswith("2 of the picks of copy and ribosome are at the same places")
    assert not plan_warnings(
        plan_of(make_source({key: [*some[:-1], [5, 6, 7 + len(some)]] for key, some in places.items()}))
    )


def test_places_that_no_tomogram_reaches_are_refused(make_source, refuses):
    source = make_source({("a", "ribosome"): [[3, 4, 5], [6, 1e300, 9]]})
    with refuses(PickError, "ribosome of a", "1e+301", "units"):
        make_plan(source, SourceSettings(), CurateSettings())
