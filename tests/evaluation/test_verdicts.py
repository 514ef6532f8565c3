"""The answers follow the stated rules, on made-up scores; sentences name the numbers."""

import pytest

from frazil.evaluation.scores import Evaluation, Score, SetDescription, Verdict
from frazil.evaluation.verdicts import aspects, compared_with, verdicts, with_verdicts

DISTANCES = (
    "spectrum_xy_dex", "wedge_profile_dex", "grey_values_wasserstein", "autocorrelation_distance", "frechet_learned", "kid_random",
    "frechet_handcrafted",
)  # fmt: skip


KINDS = ("learned", "random", "handcrafted")


def score(name="spectrum_xy_dex", value=1.0, real=1.0, *, better="lower", question="realistic", **fields):
    return Score(name=name, title=name.title(), question=question, value=value, real=real, better=better, **fields)


def answer(scores, question, count=100, held_out=100):
    return next(verdict for verdict in verdicts(scores, count, held_out) if verdict.question == question)


def realistic(value, *, ring=1.0, **fields):
    """All distances at `value`, real ones at 1; contrasts as real; a ring of this depth, real ones of 1."""
    found = [score(name, value, noise=1000.0, **fields) for name in DISTANCES]
    found += [score("particle_contrast", label=label, better="as real") for label in ("apo-ferritin", "ribosome")]
    ring_scores = [
        score("ring_depth", ring, better="as real", label="apo-ferritin", unit="σ"),
        score(
            "ring_radius_voxel", 5.0 if ring > 0.5 else None, 5.0, better="as real", label="apo-ferritin", unit="voxel"
        ),
    ]
    return [*found, *ring_scores]


def test_all_as_real_is_a_yes():
    verdict = answer(realistic(1.5), "realistic")
    assert verdict.answer == "yes"
    assert "power spectra (Spectrum_Xy_Dex 1.5, real 1)" in verdict.sentence


def test_one_lost_ring_is_no_plain_yes():
    verdict = answer(realistic(1.5, ring=0.1), "realistic")
    assert verdict.answer == "partly"
    assert "short of them in rings (Ring_Depth of apo-ferritin 0.1 σ, real 1 σ)" in verdict.sentence


def test_all_near_is_partly_and_all_short_is_no():
    assert answer(realistic(4.0), "realistic").answer == "partly"
    assert answer(realistic(500.0), "realistic").answer == "no"
    assert "; short of them in power spectra" in answer(realistic(500.0), "realistic").sentence
    without = [one for one in realistic(500.0, ring=0.1) if one.name != "particle_contrast"]
    assert answer(without, "realistic").sentence.startswith("Short of real training boxes in power spectra")


def rings(label, *, depth=1.0, radius=5.0, spread=1.0, share=90.0):
    return [
        score("ring_depth", depth, better="as real", label=label),
        score("ring_radius_voxel", radius, 5.0, better="as real", label=label),
        score("ring_radius_angstrom", 50.0 if radius else None, 50.0, better="as real", label=label),
        score("ring_spread_voxel", spread, label=label),
        score("ring_share_percent", share, 90.0, better="higher", label=label),
    ]


def test_a_filled_ring_is_not_outvoted():
    """Not by six contrasts, nor by what cannot be measured without a ring, nor by the ring of another class."""
    contrasts = [score("particle_contrast", label=label, better="as real") for label in "abcdef"]
    right, filled = rings("vlp"), rings("apo", depth=-0.5, radius=None, spread=None, share=0.0)
    by_name = {aspect.name: aspect for aspect in aspects([*contrasts, *right, *filled], "realistic")}
    assert by_name["contrast of particles"].grade == "reaches"
    assert by_name["rings"].grade == "short"
    assert by_name["rings"].worst.name == "ring_depth"
    assert by_name["rings"].worst.label == "apo"
    assert {aspect.grade for aspect in aspects([*contrasts, *right], "realistic")} == {"reaches"}
    few = [one.model_copy(update={"value": None}) for one in filled]  # too few volumes say nothing about rings
    assert {aspect.grade for aspect in aspects([*contrasts, *right, *few], "realistic")} == {"reaches"}


@pytest.mark.parametrize(("short", "expected"), [(2, "partly"), (3, "no")])
def test_more_than_a_third_short_is_a_no(short, expected):
    """Two of eight aspects are faults, three are a failure, however well the others do."""
    failing = {"spectrum_xy_dex", "wedge_profile_dex", "autocorrelation_distance"}
    names = ["spectrum_xy_dex", "wedge_profile_dex", "autocorrelation_distance", "grey_values_wasserstein"]
    names += ["ring_spread_voxel", "frechet_learned", "frechet_random", "frechet_handcrafted"]
    bad = sorted(failing)[:short]
    verdict = answer([score(name, 500.0 if name in bad else 1.5) for name in names], "realistic")
    assert verdict.answer == expected


def test_only_the_worst_aspects_show_their_numbers():
    sentence = answer(realistic(1.5, ring=0.1), "realistic").sentence
    assert sentence.count("(") == 1
    assert sentence.startswith("On a par with real training boxes in power spectra")


def test_few_samples_are_no_plain_yes():
    verdict = answer(realistic(1.0), "realistic", count=18)
    assert verdict.answer == "partly"
    assert "Only 18 samples" in verdict.sentence
    assert "Only 12 held-out boxes" in answer(realistic(1.0), "realistic", held_out=12).sentence
    assert answer(realistic(500.0), "realistic", count=18).answer == "no"


def test_a_part_that_has_not_run_is_no_plain_yes():
    verdict = answer([one for one in realistic(1.0) if "learned" not in one.name], "realistic")
    assert verdict.answer == "partly"
    assert "Not measured: learned features." in verdict.sentence


def test_nothing_measured_says_why():
    assert answer([], "varied").answer == "not measured"
    assert answer([], "varied").sentence == "Run the stages diversity and features."
    few = score(
        "recall_learned", None, question="varied", better="higher", note="Not measured: 3 samples, 10 are needed"
    )
    assert answer([few], "varied").sentence == "3 samples, 10 are needed"


def test_single_classes_count_only_where_there_is_no_number_of_all():
    pooled = score("spectrum_xy_dex", 1.0)
    found = aspects(
        [pooled, score("spectrum_xy_dex", 50.0, label="ribosome"), score("particle_contrast", 9.0, label="vlp")],
        "realistic",
    )
    assert [(aspect.name, aspect.grade) for aspect in found] == [
        ("power spectra", "reaches"),
        ("contrast of particles", "short"),
    ]


def test_an_aspect_of_half_short_scores_is_short_and_shows_the_first_of_the_worst():
    found = [
        score("spectrum_xy_dex"),
        score("spectrum_xz_dex", 7.0),
        score("spectrum_yz_dex", 9.0),
        score("spectrum_3d_dex", 3.0),
    ]
    (aspect,) = aspects(found, "realistic")
    assert (aspect.grade, aspect.worst.name) == ("short", "spectrum_xz_dex")
    (aspect,) = aspects([found[0], *found[::3], found[1]], "realistic")
    assert aspect.grade == "near"


def collapsed(vendi, coverage):
    return [
        *(score(f"coverage_{kind}", coverage, better="higher", question="varied") for kind in KINDS),
        score("vendi_learned", vendi, 10.0, better="as real", question="varied"),
        score("ms_ssim", 0.3, 0.3, better="as real", question="varied"),
        score("near_doubles", 0.0, 0.0, question="varied", unit="%"),
    ]


def test_a_collapsed_generator_is_not_varied():
    assert answer(collapsed(10.0, 1.0), "varied").answer == "yes"
    assert answer(collapsed(2.0, 0.2), "varied").answer == "no"


def new(copies=0.0, ratio=1.0, p=0.5, real_copies=0.0):
    return [
        score("near_copies", copies, real_copies, question="new", unit="%"),
        score("nearest_distance_ratio", ratio, 1.0, question="new", better="as real"),
        score("nearer_than_held_out_p", p, 0.5, question="new", better="higher"),
    ]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (new(), "yes"),
        (new(ratio=0.91, p=0.001), "yes"),  # sure, and of no size
        (new(ratio=0.8, p=0.2), "yes"),  # of a size, and chance may do it
        (new(ratio=0.8, p=0.001), "partly"),
        (new(copies=1.0), "partly"),
        (new(copies=1.0, real_copies=2.0), "yes"),  # real boxes do it as often
        (new(copies=5.0), "no"),
        (new(ratio=0.45), "no"),
        ([*new(), score("near_copies_mirrored", 6.0, 0.0, question="new", unit="%")], "no"),
    ],
)
def test_new(scores, expected):
    verdict = answer(scores, "new")
    assert verdict.answer == expected
    assert "near duplicates of a training box" in verdict.sentence
    assert "p = " in verdict.sentence


def test_a_generator_trained_on_other_boxes_is_not_called_new():
    """A model cannot have copied boxes that it never saw; a copy is a copy nonetheless."""
    other = verdicts(new(), 100, 100, "other boxes")[3]
    assert (other.question, other.answer) == ("new", "not measured")
    assert "trained on other boxes" in other.sentence
    assert verdicts(new(copies=50.0), 100, 100, "other boxes")[3].answer == "no"
    unknown = verdicts(new(), 100, 100, "unknown")[3]
    assert unknown.answer == "yes"
    assert unknown.sentence.startswith("Assuming that the generator was trained on these boxes")


def test_chance_is_given_in_words():
    assert "no nearer than expected by chance (p = 0.5)" in answer(new(), "new").sentence
    assert ", nearer than expected by chance (p = 1e-05)" in answer(new(ratio=0.8, p=1e-5), "new").sentence


def test_the_current_rules_replace_older_verdicts():
    sets = {"path": "x", "kind": "x", "voxel_size_angstrom": 10.0, "box_size_voxel": 64, "counts": {"a": 60, "b": 40}}
    old = Verdict(question="new", answer="no", sentence="by other rules")
    described = {name: SetDescription(**sets) for name in ("held_out", "training")}
    evaluation = Evaluation(
        name="x", generated=SetDescription(**sets, trained_on="these boxes"), **described, seed=0, verdicts=(old,),
        scores=tuple(new()), plots=(),
    )  # fmt: skip
    assert with_verdicts(evaluation).verdicts == verdicts(new(), 100, 100, "these boxes")


def test_smooth_volumes_are_named_as_another_reason():
    assert "smooth volumes are too" in answer(new(ratio=0.8, p=0.001), "new").sentence
    assert answer([], "new").answer == "not measured"


def useful(*, alone=0.9, real=0.9, gain=None, all_gain=None, pasted=0.0):
    found = [
        score("cas_balanced_accuracy", alone, real, question="useful", better="higher", shuffled=0.2),
        score("gain_copy_paste", pasted, None, question="useful", better="higher"),
    ]
    for name, bounds in (("gain_generated_100", gain), ("gain_all_generated", all_gain)):
        if bounds is not None:
            middle = sum(bounds) / 2
            found.append(score(name, middle, None, question="useful", better="higher", interval=bounds))
    return found


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (useful(gain=(0.01, 0.03), all_gain=(0.01, 0.02)), "yes"),
        (useful(gain=(0.01, 0.03)), "yes"),  # no more real volumes than generated ones
        (useful(gain=(-0.01, 0.03), all_gain=(0.01, 0.02)), "partly"),  # copy-paste may help more
        (useful(gain=(0.01, 0.03), all_gain=(0.01, 0.02), pasted=0.05), "partly"),  # copy-paste does it too
        (useful(gain=(0.01, 0.03), all_gain=(-0.02, 0.02), alone=0.3), "partly"),  # only where real volumes are few
        (useful(gain=(-0.01, 0.03), all_gain=(-0.02, 0.02)), "partly"),  # alone they teach as much as real ones
        (useful(gain=(-0.01, 0.03), all_gain=(-0.02, 0.02), alone=0.3), "no"),
        (
            [
                *useful(gain=(-0.01, 0.03), all_gain=(-0.02, 0.02), alone=0.3),
                score("gain_generated_25", 0.02, None, question="useful", better="higher", interval=(0.01, 0.03)),
            ],
            "no",  # one of several shares helps by chance
        ),
        (useful(), "not measured"),
    ],
)
def test_useful(scores, expected):
    assert answer(scores, "useful").answer == expected


@pytest.mark.parametrize(("percent", "expected"), [(100.0, "no"), (2.0, "partly"), (0.0, "yes")])
def test_duplicates_cap_the_variety(percent, expected):
    found = [
        score(name, 1.0, 1.0, question="varied", better="higher")
        for name in ("coverage_learned", "coverage_random", "coverage_handcrafted", "vendi_learned", "ms_ssim")
    ]
    found.append(score("near_doubles", percent, 0.0, question="varied"))
    said = answer(found, "varied")
    assert said.answer == expected
    assert ("near duplicate among them" in said.sentence) == (percent > 0)


def test_curves_are_near_up_to_twice_the_floor():
    def one(value):
        return answer(
            [score("curves_spectrum_dex", value, 0.1, question="near real data", noise=2.0)], "near real data"
        )

    assert one(0.09).sentence.startswith("On a par with real slices in power spectra")
    assert one(0.19).sentence.startswith("Near real slices")
    assert (one(0.21).answer, one(0.21).sentence[:20]) == ("no", "Short of real slices")  # however bad noise is


def test_what_the_verdicts_rest_on_is_said():
    def said(*, simulated=False, boxes=60, curves=False):
        sets = {"kind": "x", "voxel_size_angstrom": 10.0, "box_size_voxel": 64}
        of = SetDescription(path="/data/boxes", counts={"a": boxes} if boxes else {}, simulated=simulated, **sets)
        slices = SetDescription(path="/data/curves.json", counts={"a": 8}, **sets) if curves else None
        return compared_with(
            Evaluation(
                name="x",
                generated=of,
                held_out=of,
                training=of,
                curves=slices,
                seed=0,
                verdicts=(),
                scores=(),
                plots=(),
            )
        )

    assert said() == "Compared with 60 held-out real boxes (boxes)."
    assert said(simulated=True).startswith("Compared with 60 SIMULATED boxes (boxes), not from a microscope")
    assert said(boxes=0, curves=True) == "Compared with curves of 8 real subtomograms (curves.json)."
    assert "; and with curves of 8" in said(curves=True)


def test_useful_names_gains_and_rivals():
    sentence = answer(useful(alone=0.81, gain=(0.01, 0.03), all_gain=(0.0, 0.02), pasted=0.004), "useful").sentence
    assert "balanced accuracy of 0.81 on held-out real volumes; trained on as many real ones, 0.9" in sentence
    assert "all generated to all real +0.010 (+0.000 to +0.020)" in sentence
    assert "100 % generated +0.020 (+0.010 to +0.030), copy-paste +0.004" in sentence


def test_one_seed_is_no_yes():
    one_seed = [one.model_copy(update={"interval": None}) for one in useful(gain=(0.1, 0.3), all_gain=(0.1, 0.2))]
    assert answer(one_seed, "useful").answer == "partly"
    assert "(one seed)" in answer(one_seed, "useful").sentence


def test_the_depth_of_a_ring_counts_only_where_real_volumes_have_one():
    found = [
        score("ring_depth", 0.5, 0.02, better="as real", label="ribosome"),
        score("ring_radius_voxel", label="apo-ferritin"),
    ]
    assert [aspect.worst.label for aspect in aspects(found, "realistic")] == ["apo-ferritin"]
