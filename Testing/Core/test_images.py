# SPDX-License-Identifier: Apache-2.0
"""NIfTI, NRRD and MetaImage files, and what is checked of every image."""

import gzip
import itertools
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from ReadingRoomLib.errors import BadInput
from ReadingRoomLib.geometry import same_geometry, to_lps_axes
from ReadingRoomLib.images import ImageInput, image_sha256, looks_like_hounsfield, read_image

from .dicom_factory import body, write_enhanced

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FORMATS = ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"]
ORIENTATIONS = [
    np.eye(3)[:, permutation] * signs
    for permutation in itertools.permutations(range(3))
    for signs in itertools.product([1.0, -1.0], repeat=3)
]


def make_ct(values: np.ndarray | None = None, direction=None, spacing=(2.0, 1.5, 3.0)):
    image = sitk.GetImageFromArray(body(8) if values is None else values)
    image.SetSpacing(spacing)
    image.SetOrigin((-40.0, -30.0, 100.0))
    if direction is not None:
        image.SetDirection(np.asarray(direction).ravel().tolist())
    return image


def write(path: Path, image: sitk.Image | None = None, compress: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(make_ct() if image is None else image, str(path), compress)
    return path


def array(read: ImageInput) -> np.ndarray:
    """The voxels, slice by slice."""
    return sitk.GetArrayFromImage(read.image)


def refusal(path: Path, modality: str = "CT") -> str:
    """The one sentence that refuses the image."""
    with pytest.raises(BadInput) as caught:
        read_image(path, modality)
    message = caught.value.message
    assert path.name in message
    assert message.count(": ") == 1 and message.endswith(".")  # what is wrong, and what to do
    return message


def the_warning(read: ImageInput) -> str:
    [warning] = read.warnings
    return warning


# File formats


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_volume(tmp_path, name, compress):
    read = read_image(write(tmp_path / name, compress=compress))
    assert np.array_equal(array(read), body(8))
    assert same_geometry(read.image, make_ct(), tolerance=1e-4)
    assert read.image.GetPixelID() == sitk.sitkInt16
    assert read.warnings == []
    assert read.name == name


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd"])
@pytest.mark.parametrize("direction", ORIENTATIONS)
def test_every_orientation_keeps_left_on_the_left(tmp_path, name, direction):
    image = make_ct(direction=direction)
    read = read_image(write(tmp_path / name, image))
    assert same_geometry(read.image, image, tolerance=1e-3)
    aligned, _ = to_lps_axes(read.image)
    expected, _ = to_lps_axes(image)
    assert np.array_equal(sitk.GetArrayFromImage(aligned), sitk.GetArrayFromImage(expected))


def test_paths_with_spaces_and_other_scripts(tmp_path):
    path = write(tmp_path / "Müller, Jürgen 患者" / "CT Hüfte 1.nii.gz")
    assert np.array_equal(array(read_image(path)), body(8))
    assert read_image(str(path)).name == "CT Hüfte 1.nii.gz"
    link = tmp_path / "link.nii.gz"
    link.symlink_to(path)
    assert np.array_equal(array(read_image(link)), body(8))


@pytest.mark.skipif(os.name == "nt", reason="names are always Unicode there")
def test_a_name_that_is_no_unicode(tmp_path):
    """SimpleITK would end the whole process over it."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.nii.gz"))
    try:
        write(tmp_path / "a.nii.gz").rename(odd)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert np.array_equal(array(read_image(odd)), body(8))


def test_a_relative_path(tmp_path, monkeypatch):
    write(tmp_path / "a.nrrd")
    monkeypatch.chdir(tmp_path)
    assert read_image("a.nrrd").name == "a.nrrd"
    with pytest.raises(BadInput, match=f"{tmp_path.name} holds no DICOM images"):
        read_image(".")


def test_big_endian_nrrd_with_windows_line_ends(tmp_path):
    header = (
        "NRRD0005\ntype: int16\ndimension: 3\nspace: right-anterior-superior\nsizes: 32 24 8\n"
        "space directions: (-2,0,0) (0,-1.5,0) (0,0,3)\nkinds: domain domain domain\n"
        "endian: big\nencoding: raw\nspace origin: (40,30,100)\n\n"
    )
    path = tmp_path / "big.nrrd"
    for text in (header, header.replace("\n", "\r\n")):
        path.write_bytes(text.encode() + body(8).astype(">i2").tobytes())
        read = read_image(path)
        assert np.array_equal(array(read), body(8))
        assert same_geometry(read.image, make_ct())


def test_big_endian_nifti_and_nifti_2(tmp_path):
    affine = np.diag([-2.0, -1.5, 3.0, 1.0])
    data = np.ascontiguousarray(body(8).T)
    big = nibabel.Nifti1Image(data, affine, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii.gz")
    assert np.array_equal(array(read_image(tmp_path / "big.nii.gz")), body(8))
    nibabel.save(nibabel.Nifti2Image(data, affine), tmp_path / "two.nii.gz")
    assert "save it as NIfTI-1" in refusal(tmp_path / "two.nii.gz")


def test_nifti_rescale_values_are_applied_and_made_int16(tmp_path):
    path = write(tmp_path / "a.nii", make_ct((body(8) + 1024).astype(np.uint16)))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    read = read_image(path)
    assert read.image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(array(read), body(8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.int64])
def test_other_voxel_types_become_int16(tmp_path, dtype):
    values = body(8).astype(dtype)
    if values.dtype.kind == "f":
        values += 0.3
    read = read_image(write(tmp_path / "a.nrrd", make_ct(values)))
    assert read.image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(array(read), body(8))
    assert same_geometry(read.image, make_ct())


def test_values_beyond_int16_are_cut_off(tmp_path):
    values = body(8).astype(np.int32)
    values[0, 0, :2] = 100_000, -100_000
    read = array(read_image(write(tmp_path / "a.nrrd", make_ct(values))))
    assert read[0, 0, :2].tolist() == [32767, -32768]
    assert np.array_equal(read[1:], body(8)[1:])


def test_a_file_that_does_not_say_which_side_is_left_is_warned_of(tmp_path):
    image = nibabel.Nifti1Image(np.ascontiguousarray(body(8).T), None)
    image.header.set_zooms((2.0, 1.5, 3.0))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert "check left and right" in the_warning(read_image(tmp_path / "a.nii.gz"))
    header = (b"NRRD0004\ntype: short\ndimension: 3\nsizes: 32 24 8\nspacings: 2 1.5 3\n"
              b"endian: little\nencoding: raw\n\n")
    (tmp_path / "a.nrrd").write_bytes(header + body(8).astype("<i2").tobytes())
    assert "check left and right" in the_warning(read_image(tmp_path / "a.nrrd"))


def test_a_sheared_nrrd_is_straightened(tmp_path):
    sheared = np.eye(3)
    sheared[:, 2] = (0, np.sin(0.3), np.cos(0.3))
    path = write(tmp_path / "a.nrrd", make_ct(direction=sheared))
    read = read_image(path)
    assert "tilted by 17.2 degrees" in the_warning(read)
    assert read.image.GetSize()[1] > 24


def test_a_sheared_nifti_is_refused(tmp_path):
    affine = np.diag([-2.0, -1.5, 3.0, 1.0])
    affine[1, 2] = 1.0
    image = nibabel.Nifti1Image(np.ascontiguousarray(body(8).T), affine)
    image.set_qform(None)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert "not at right angles" in refusal(tmp_path / "a.nii.gz")


# Shapes


def test_colour_images(tmp_path):
    red = sitk.Cast(make_ct() > 0, sitk.sitkUInt8)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        path = write(tmp_path / name, sitk.Compose(red, red, red))
        assert "colour or vector image" in refusal(path)


def test_four_dimensions(tmp_path):
    series = sitk.JoinSeries(make_ct(), make_ct(), make_ct())
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        assert "holds 3 volumes" in refusal(write(tmp_path / name, series))
        one = read_image(write(tmp_path / name, sitk.JoinSeries(make_ct())))
        assert np.array_equal(array(one), body(8))
        assert same_geometry(one.image, make_ct(), tolerance=1e-4)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_one_slice(tmp_path, name):
    assert "only one slice" in refusal(write(tmp_path / name, make_ct()[:, :, 3:4]))
    assert "only one slice" in refusal(write(tmp_path / name, make_ct()[:, :, 3]))


def test_anisotropic_voxels_are_fine(tmp_path):
    read = read_image(write(tmp_path / "a.nrrd", make_ct(spacing=(0.4, 0.4, 10.0))))
    assert read.image.GetSpacing() == (0.4, 0.4, 10.0)
    assert read.warnings == []


def test_voxel_sizes_no_patient_has(tmp_path):
    path = write(tmp_path / "a.nrrd", make_ct(spacing=(0.0007, 0.0007, 0.005)))
    assert "voxels of 0.0007 to 0.005 mm" in refusal(path)
    path = write(tmp_path / "a.nrrd", make_ct(spacing=(700, 700, 5000)))
    assert "in millimetres" in refusal(path)


MEMORY_SCRIPT = """
import resource, sys
from ReadingRoomLib.images import read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = read_image(sys.argv[1]).image.GetSize()
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit, size[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="the peak of memory is asked for as Unix does")
def test_700_slices_take_little_more_than_their_own_memory(tmp_path):
    values = np.tile(body(1, (256, 256)), (700, 1, 1))
    path = write(tmp_path / "long.nrrd", make_ct(values), compress=False)
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    peak, slices = map(int, run.stdout.split())
    assert slices == 700
    assert peak < 1.4 * values.nbytes


# Values


def test_no_value_in_few_voxels(tmp_path):
    values = body(40).astype(np.float32)
    values[3, 4, 5] = np.nan
    values[30, 20, 10:13] = np.inf, -np.inf, np.nan
    read = read_image(write(tmp_path / "a.nrrd", make_ct(values)))
    assert "in 4 voxels: air" in the_warning(read)
    assert array(read)[3, 4, 5] == -1000
    assert np.all(array(read)[30, 20, 10:13] == -1000)
    known = np.isfinite(values)
    assert np.array_equal(array(read)[known], body(40)[known])


def test_no_value_in_many_voxels(tmp_path):
    values = body(40).astype(np.float32)
    values[:2] = np.nan
    message = refusal(write(tmp_path / "a.nrrd", make_ct(values)))
    assert "in 5.0% of its voxels" in message
    values[:] = np.nan
    assert "is empty" in refusal(write(tmp_path / "a.nrrd", make_ct(values)))


def test_mr_keeps_its_values(tmp_path):
    values = np.random.default_rng(0).gamma(2.0, 100.0, (8, 24, 32)).astype(np.float64)
    values[0, 0, 0] = np.nan
    read = read_image(write(tmp_path / "a.nrrd", make_ct(values)), "MR")
    assert read.image.GetPixelID() == sitk.sitkFloat32
    assert "in 1 voxels: zero" in the_warning(read)
    assert np.allclose(array(read), np.nan_to_num(values), atol=1e-3)
    integers = make_ct(np.nan_to_num(values).clip(0, 255).astype(np.uint8))
    read = read_image(write(tmp_path / "b.nrrd", integers), "MR")
    assert read.image.GetPixelID() == sitk.sitkUInt8


def mr(shape=(20, 40, 40)) -> np.ndarray:
    """Background noise, fat and muscle as T1 weighting shows them."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:40j, -1:1:40j]
    values = rng.rayleigh(8, shape)
    values[:, np.hypot(x, y) < 0.9] += 700
    values[:, np.hypot(x, y) < 0.7] -= 450
    return values.astype(np.int16)


@pytest.mark.parametrize(
    "values",
    [
        mr(),
        mr() * 4,
        mr() - 40,  # ringing below zero
        (mr() - mr().mean()) / mr().std(),  # normalised
        np.random.default_rng(0).integers(-4096, 4096, (20, 40, 40)).astype(np.int16),  # phase
        np.random.default_rng(0).integers(0, 5, (20, 40, 40)).astype(np.uint8),  # labels
        np.clip(body(20) // 4 + 60, 0, 255).astype(np.uint8),  # windowed
        (body(20) + 1024).astype(np.uint16),  # offset lost, and nothing says that it is a CT
        body(20).clip(-100, 300),  # windowed
    ],
)
def test_what_is_no_ct_is_refused(tmp_path, values):
    message = refusal(write(tmp_path / "a.nii.gz", make_ct(values)))
    assert "does not look like Hounsfield units" in message


def noisy(values: np.ndarray) -> np.ndarray:
    return values + np.random.default_rng(0).normal(0, 15, values.shape)


@pytest.mark.parametrize(
    "values",
    [
        body(20),
        noisy(body(20)[:, 6:18, 4:28]),  # cropped within the body: no air
        np.where(body(20) < -500, -2048, body(20)),  # padding
        np.where(body(20) > 600, 30000, body(20)),  # metal
        np.where(body(20) < -500, -3024, body(20)),
    ],
)
def test_what_is_a_ct_is_read(tmp_path, values):
    values = values.astype(np.int16)
    assert np.array_equal(
        array(read_image(write(tmp_path / "a.nii.gz", make_ct(values)))), values
    )


def test_empty_and_air(tmp_path):
    assert "is empty" in refusal(write(tmp_path / "a.nrrd", make_ct(np.zeros_like(body(8)))))
    air = np.random.default_rng(0).normal(-1000, 12, (8, 24, 32)).astype(np.int16)
    assert "nothing but air" in refusal(write(tmp_path / "a.nrrd", make_ct(air)))


@pytest.mark.skipif(not REAL_DATA.exists(), reason="the real images are not on this computer")
def test_real_images_are_told_apart():
    def plausible(pattern: str) -> dict[str, bool]:
        images = {path.name: sitk.ReadImage(str(path)) for path in REAL_DATA.glob(pattern)}
        arrays = {name: sitk.GetArrayViewFromImage(image) for name, image in images.items()}
        return {name: looks_like_hounsfield(values[::2, ::2, ::2].ravel())
                for name, values in arrays.items()}

    for pattern in ("ct_visible_human/*.nii.gz", "ct_lung_longitudinal_pair_elastix/*up.mha",
                    "ct_totalsegmentator_examples/example_ct*.nii.gz"):
        assert all(plausible(pattern).values()), plausible(pattern)
    for pattern in ("mri_*/*.nii.gz", "ct_totalsegmentator_examples/example_mr*.nii.gz",
                    "ct_totalsegmentator_examples/example_seg*.nii.gz"):
        assert plausible(pattern) and not any(plausible(pattern).values()), plausible(pattern)


# Damaged and hostile files


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
@pytest.mark.parametrize("kept", [-1, 0.6])
def test_truncated_files(tmp_path, name, compress, kept):
    path = write(tmp_path / name, compress=compress)
    beside = [other for other in tmp_path.iterdir() if other != path]
    data = beside[0] if beside else path
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * kept) if kept > 0 else kept])
    assert "is damaged or incomplete" in refusal(path)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_one_altered_byte_in_a_compressed_file(tmp_path, name):
    values = body(8) + np.random.default_rng(0).integers(0, 30, (8, 24, 32)).astype(np.int16)
    path = write(tmp_path / name, make_ct(values))
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 0x10
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_several_compressed_streams_in_a_row(tmp_path):
    """As bgzip and pigz write them."""
    path = write(tmp_path / "a.nii", compress=False)
    content = path.read_bytes()
    parts = [gzip.compress(content[:5000]), gzip.compress(content[5000:])]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(parts))
    assert np.array_equal(array(read_image(tmp_path / "b.nii.gz")), body(8))


NRRD_HEADER = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: {sizes}
space directions: (1,0,0) (0,1,0) (0,0,1)
kinds: domain domain domain
endian: little
encoding: {encoding}
space origin: (0,0,0)
{more}
"""


def write_nrrd(path: Path, sizes="32 24 8", encoding="gzip", more="", data=b"") -> Path:
    header = NRRD_HEADER.format(sizes=sizes, encoding=encoding, more=more)
    path.write_bytes(header.rstrip("\n").encode() + b"\n\n" + data)
    return path


def test_headers_that_claim_too_much(tmp_path):
    zeros = gzip.compress(bytes(1 << 20))
    claimed = refusal(write_nrrd(tmp_path / "a.nrrd", "100000 100000 10000", data=zeros))
    assert "claims to hold 100000 x 100000 x 10000 voxels" in claimed
    lying = refusal(write_nrrd(tmp_path / "b.nrrd", "1200 1200 1200", data=zeros))
    assert "do not fit its header" in lying
    many = write(tmp_path / "a.nii", compress=False)
    content = bytearray(many.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    many.write_bytes(content)
    assert "claims to hold 30000 x 30000 x 30000 voxels" in refusal(many)
    text = (write(tmp_path / "a.mha", compress=False).read_bytes()
            .replace(b"DimSize = 32 24 8", b"DimSize = 32 24 80000"))
    (tmp_path / "a.mha").write_bytes(text)
    assert "do not fit its header" in refusal(tmp_path / "a.mha")


@pytest.mark.parametrize(
    "data_file", ["/etc/passwd", "../secret.raw", "LIST", "slice%03d.raw 1 8 1", "sub/a.raw"]
)
def test_headers_that_name_files_elsewhere(tmp_path, data_file):
    (tmp_path / "secret.raw").write_bytes(bytes(32 * 24 * 8 * 2))
    folder = tmp_path / "images"
    folder.mkdir()
    path = write_nrrd(folder / "a.nhdr", encoding="raw", more=f"data file: {data_file}")
    assert "save the image as one file" in refusal(path)
    header = write(folder / "b.mhd", compress=False).read_text()
    (folder / "b.mhd").write_text(header.replace("b.raw", data_file))
    assert "save the image as one file" in refusal(folder / "b.mhd")


def test_a_data_file_that_is_missing(tmp_path):
    path = write(tmp_path / "a.mhd", compress=False)
    (tmp_path / "a.raw").unlink()
    assert "needs the file a.raw, which is missing" in refusal(path)


def test_an_encoding_that_is_not_supported(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", encoding="bzip2", data=b"BZh9")
    assert "not supported (bzip2)" in refusal(path)


def test_half_of_an_analyze_pair(tmp_path):
    image = nibabel.Nifti1Pair(np.ascontiguousarray(body(8).T), np.diag([-2, -1.5, 3, 1]))
    nibabel.save(image, tmp_path / "a.hdr")
    assert "one half of a pair" in refusal(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("letter.pdf", b"%PDF-1.4 and so on"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("ct.nii.gz", b"not what the name says"),
        ("ct.nii.gz", b"\x1f\x8b\x08 broken"),
        ("ct.nrrd", b""),
        ("archive.zip", b"PK\x03\x04" + bytes(500)),
        ("archive.tar.gz", gzip.compress(bytes(2000), mtime=0)),  # or its name tells the time
    ],
)
def test_wrong_file_types(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "is not an image that can be read here" in refusal(tmp_path / name)


def test_headers_that_are_nonsense(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\n\n")
    assert "damaged NRRD file" in refusal(tmp_path / "a.nrrd")
    (tmp_path / "a.mha").write_bytes(b"ObjectType = Image\nNDims = x\nElementDataFile = LOCAL\n")
    assert "a.mha" in refusal(tmp_path / "a.mha")
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"garbage" * 50)
    assert "damaged DICOM file" in refusal(tmp_path / "a.dcm")
    path = write_nrrd(tmp_path / "b.nrrd", data=gzip.compress(body(8).tobytes()))
    text = path.read_bytes().replace(b"(0,0,1)", b"(0,0,nan)")
    path.write_bytes(text)
    assert "b.nrrd" in refusal(path)


def test_a_file_that_is_not_there(tmp_path):
    assert "cannot be found" in refusal(tmp_path / "nothing.nrrd")


# Identity


def test_sha256_is_that_of_voxels_and_geometry(tmp_path):
    image = make_ct()
    first = read_image(write(tmp_path / "a.nrrd", image))
    assert first.sha256 == read_image(write(tmp_path / "b.mha", image)).sha256
    assert first.sha256 == image_sha256(image)
    assert len(first.sha256) == 64

    other = sitk.Image(image)
    other[3, 4, 5] += 1
    moved = sitk.Image(image)
    moved.SetOrigin((-40.0, -30.0, 100.5))
    flipped = make_ct(direction=np.diag([-1.0, 1.0, 1.0]))
    hashes = {first.sha256, *map(image_sha256, (other, moved, flipped))}
    assert len(hashes) == 4


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.dcm"])
@pytest.mark.filterwarnings("error")
def test_whatever_a_header_says_the_answer_is_a_sentence(tmp_path, name):
    if name == "a.dcm":
        path = write_enhanced(tmp_path / name, body(8), 3.0 * np.arange(8))
    else:
        path = write(tmp_path / name, compress=name != "a.nii")
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        content = bytearray(sound)
        for place in rng.integers(0, min(len(content), 1200 if name == "a.dcm" else 400), 3):
            content[place] = rng.choice([0, 10, 32, 45, 48, 57, 255, content[place] ^ 1])
        path.write_bytes(content)
        try:
            read_image(path)
        except BadInput:
            refused += 1
    assert refused > 3
