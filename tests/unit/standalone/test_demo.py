"""The demo study is one study of one invented patient, made of real images."""

from osteon_standalone import demo


def test_the_demo_is_one_study_of_one_patient_with_unique_instances() -> None:
    datasets = list(demo.instances())
    assert {d.PatientID for d in datasets} == {demo.PATIENT_ID}
    assert len({d.StudyInstanceUID for d in datasets}) == 1
    assert len({d.SeriesInstanceUID for d in datasets}) == len(demo.SERIES)
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    assert all(len(d.PixelData) for d in datasets)


def test_the_demo_is_the_same_every_time() -> None:
    assert [d.SOPInstanceUID for d in demo.instances()] == [d.SOPInstanceUID for d in demo.instances()]
