"""Archives laid out as the real ones of MNIST, Fashion-MNIST, CIFAR-10 and CelebA are, with a few images each.

Each function writes the files into `folder`, has tensorflow-datasets expect their sizes and checksums (until
`monkeypatch` is undone), and returns {split: (images, labels)} in the files' order.
"""

import gzip
import io
import sys
import tarfile
import zipfile

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo, compute_url_info

TRAIN, VALIDATION, TEST = 60, 9, 20


def mnist(folder, monkeypatch, name="mnist", seed=0):
    random = np.random.default_rng(seed)
    contents = {
        split: (random.integers(0, 256, (count, 28, 28, 1), np.uint8), random.integers(0, 10, count, np.uint8))
        for split, count in (("train", TRAIN), ("test", TEST))
    }
    files = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = contents[split]
        header = np.array([2051, len(images), 28, 28], ">i4").tobytes()
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(header + images.tobytes())
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(
            np.array([2049, len(labels)], ">i4").tobytes() + labels.tobytes()
        )
    builder_class = tfds.builder_cls(name)
    monkeypatch.setattr(sys.modules[builder_class.__module__], "_TRAIN_EXAMPLES", TRAIN)
    monkeypatch.setattr(sys.modules[builder_class.__module__], "_TEST_EXAMPLES", TEST)
    _place(files, folder, builder_class, monkeypatch)
    return contents


def fashion_mnist(folder, monkeypatch):
    return mnist(folder, monkeypatch, "fashion_mnist", seed=1)


def cifar10(folder, monkeypatch):
    random = np.random.default_rng(2)
    contents = {
        split: (random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count, np.uint8))
        for split, count in (("train", TRAIN), ("test", TEST))
    }

    def batch(images, labels):  # a label, then 1024 red, 1024 green, 1024 blue bytes
        return b"".join(
            bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)
        )

    members = {"batches.meta.txt": "".join(f"class{i}\n" for i in range(10)).encode()}
    for number in range(5):
        some = slice(number * TRAIN // 5, (number + 1) * TRAIN // 5)
        members[f"data_batch_{number + 1}.bin"] = batch(*(array[some] for array in contents["train"]))
    members["test_batch.bin"] = batch(*contents["test"])

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    _place({"cifar-10-binary.tar.gz": buffer.getvalue()}, folder, tfds.builder_cls("cifar10"), monkeypatch)
    return contents


def celeb_a(folder, monkeypatch):
    """The images returned are the photographs, uint8 [N, 218, 178, 3], as their JPEG files decode."""
    builder_class = tfds.builder_cls("celeb_a")
    module = sys.modules[builder_class.__module__]
    random = np.random.default_rng(3)
    contents = {"train": [], "validation": [], "test": []}
    partition, attributes, landmarks, identities = [], [], [], []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_align_celeba/", b"")
        for number, split in enumerate(["train"] * TRAIN + ["validation"] * VALIDATION + ["test"] * TEST, 1):
            coarse = Image.fromarray(random.integers(0, 256, (5, 4, 3), np.uint8))
            jpeg = io.BytesIO()
            coarse.resize((178, 218), Image.Resampling.BICUBIC).save(jpeg, "JPEG", quality=95)
            name = f"{number:06}.jpg"
            archive.writestr(f"img_align_celeba/{name}", jpeg.getvalue())
            contents[split].append(np.asarray(Image.open(jpeg)))
            partition.append(f"{name} {list(contents).index(split)}\n")
            attributes.append(f"{name} " + " ".join(["-1"] * len(module.ATTR_HEADINGS)) + "\n")
            landmarks.append(f"{name} " + " ".join(["7"] * len(module.LANDMARK_HEADINGS)) + "\n")
            identities.append(f"{name} {number}\n")
    files = {
        "img_align_celeba.zip": buffer.getvalue(),
        "list_eval_partition.txt": _text(partition),
        "list_attr_celeba.txt": _text([f"{len(partition)}\n", " ".join(module.ATTR_HEADINGS) + "\n", *attributes]),
        "list_landmarks_align_celeba.txt": _text(
            [f"{len(partition)}\n", " ".join(module.LANDMARK_HEADINGS) + "\n", *landmarks]
        ),
        "identity_CelebA.txt": _text(identities),
    }
    _place(files, folder, builder_class, monkeypatch)
    return {split: (np.stack(images), None) for split, images in contents.items()}


ALL = {"mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10, "celeb_a": celeb_a}


def _text(lines):
    return "".join(lines).encode()


def _place(files, folder, builder_class, monkeypatch):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    expected = {}
    for url, info in builder_class.url_infos.items():
        found = compute_url_info(folder / info.filename)
        expected[url] = UrlInfo(size=found.size, checksum=found.checksum, filename=info.filename)
    monkeypatch.setattr(builder_class, "url_infos", expected)
