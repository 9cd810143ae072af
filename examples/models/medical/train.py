#!/usr/bin/env python3
"""Trains one of the networks on volumes that are made up, as long as is said, and writes it as TorchScript with a volume to look at.

usage: train.py airway|heart|vessel OUT.pt [--volume OUT.npz] [--seconds 25] [--patch 64] [--seed 0]

The volumes are tubes that branch, or bodies with a chamber, in noise: enough for weights that find something, and for nothing else. It runs
on the GPU if there is one. Needs PyTorch and numpy.
"""

import argparse
import time

import numpy as np
import torch

from networks import SIZES, UNet


def tubes(size, random, device):
    """A tree of tubes: 1 inside."""
    labels = torch.zeros(size, device=device)
    extents = np.array(size, float)
    # Where a branch begins, where it leads, how thick it is, how many times it may still branch.
    branches = [(extents * [0.02, 0.5, 0.5], np.array([1.0, 0, 0]), min(size) * random.uniform(0.04, 0.055), 6)]
    while branches:
        place, heading, radius, left = branches.pop()
        for _ in range(random.integers(2, 5)):
            heading = heading + random.normal(0, 0.25, 3)
            heading /= np.linalg.norm(heading)
            end = place + heading * radius * random.uniform(2.5, 4.5)
            _fill(labels, place, end, radius)
            place = end
        if left and radius > 1.3 and ((place > 0) & (place < extents)).all():
            for _ in range(2):
                turned = heading + random.normal(0, 0.65, 3)
                branches.append((place, turned / np.linalg.norm(turned), radius * random.uniform(0.7, 0.92), left - 1))
    return labels.long()


def _fill(labels, start, end, radius):
    """All that is no further than the radius from a straight line."""
    low = np.maximum(np.floor(np.minimum(start, end) - radius), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(start, end) + radius) + 1, labels.shape).astype(int)
    if (high <= low).any():
        return
    axes = [torch.arange(a, b, device=labels.device, dtype=torch.float32) for a, b in zip(low, high)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    first, line = (torch.tensor(one, device=labels.device, dtype=torch.float32) for one in (start, end - start))
    along = (((grid - first) @ line) / line.dot(line)).clamp(0, 1)
    inside = (grid - first - along[..., None] * line).norm(dim=-1) <= radius
    labels[tuple(slice(a, b) for a, b in zip(low, high))][inside] = 1


def bodies(size, random, device):
    """A lumpy body, 1, with a chamber in it, 2."""
    axes = [torch.linspace(-1, 1, extent, device=device) for extent in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    middle = torch.tensor(random.uniform(-0.2, 0.2, 3), device=device, dtype=torch.float32)
    field = torch.zeros(size, device=device)
    for _ in range(7):
        centre = middle + torch.tensor(random.normal(0, 0.16, 3), device=device, dtype=torch.float32)
        field += torch.exp(-((grid - centre) ** 2).sum(-1) / random.uniform(0.02, 0.09))
    return (field > 0.55).long() + (field > 1.6).long()


def volume(name, random, device):
    """A volume and its labels."""
    size = SIZES[name]
    labels = bodies(size, random, device) if name == "heart" else tubes(size, random, device)
    contrast = {"airway": [0.0, -1.6], "heart": [0.0, 0.7, 1.5], "vessel": [0.0, 1.3]}[name]
    image = torch.tensor(contrast, device=device)[labels]
    noise = torch.Generator(device=device).manual_seed(int(random.integers(1 << 31)))
    image += 0.2 * torch.randn(size, generator=noise, device=device)
    coarse = torch.randn((1, 1, 6, 6, 6), generator=noise, device=device)
    image += 0.4 * torch.nn.functional.interpolate(coarse, size, mode="trilinear")[0, 0]
    # As a scanner has them: steps, which also pack well.
    return (image * 32).round() / 32, labels


def patches(data, count, patch, random):
    """Parts of the volumes, most of them around a place of one label or another."""
    images, labels = [], []
    for number in range(count):
        image, label, places = data[random.integers(len(data))]
        corner = [int(random.integers(extent - patch + 1)) for extent in image.shape]
        if number > 0:
            of_label = places[number % len(places)]
            middle = of_label[int(random.integers(len(of_label)))].tolist()
            corner = [min(max(one - patch // 2, 0), extent - patch) for one, extent in zip(middle, image.shape)]
        place = tuple(slice(one, one + patch) for one in corner)
        images.append(image[place])
        labels.append(label[place])
    return torch.stack(images)[:, None], torch.stack(labels)


def loss_of(probabilities, labels):
    """Cross entropy, and what is missing to a Dice of 1."""
    one_hot = torch.nn.functional.one_hot(labels, probabilities.shape[1]).movedim(-1, 1).float()
    entropy = -(one_hot * probabilities.clamp_min(1e-6).log()).sum(1).mean()
    both = (one_hot * probabilities).sum((0, 2, 3, 4))
    dice = (2 * both + 1) / (one_hot.sum((0, 2, 3, 4)) + probabilities.sum((0, 2, 3, 4)) + 1)
    return entropy + 1 - dice[1:].mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=SIZES)
    parser.add_argument("out")
    parser.add_argument("--volume")
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--volumes", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(arguments.seed)
    random = np.random.default_rng(arguments.seed)
    data = [volume(arguments.network, random, device) for _ in range(arguments.volumes + 1)]
    unseen = data.pop()
    data = [(image, labels, [(labels == label).nonzero() for label in labels.unique() if label]) for image, labels in data]
    network = UNet(arguments.network).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    begin, steps, done = time.perf_counter(), 0, 0.0
    while done < 1:
        done = (time.perf_counter() - begin) / arguments.seconds
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * max(1 - done, 0.02)
        images, labels = patches(data, arguments.batch, arguments.patch, random)
        loss = loss_of(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    network.eval()
    image, labels = unseen
    with torch.no_grad():
        found = network(image[None, None]).argmax(1)[0]
    dice = [float(2 * ((found == c) & (labels == c)).sum() / ((found == c).sum() + (labels == c).sum())) for c in range(1, int(labels.max()) + 1)]
    shown = ", ".join(f"{one:.3f}" for one in dice)
    print(f"{arguments.network}: {steps} steps on {device}, loss {loss.item():.3f}; Dice on a volume that it has not seen: {shown}")
    network = network.cpu()
    with torch.no_grad():
        torch.jit.trace(network, torch.zeros(1, 1, 64, 64, 64), check_trace=False).save(arguments.out)
    if arguments.volume:
        np.savez_compressed(arguments.volume, INPUT__0=image.cpu().numpy()[None, None])


if __name__ == "__main__":
    main()
