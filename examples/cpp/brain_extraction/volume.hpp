// Volumes: read, brought onto the network's grid and back, compared, written.

#pragma once

#include <itkImage.h>

#include <array>
#include <cstdint>
#include <filesystem>

using Volume = itk::Image<float, 3>;
using Mask = itk::Image<std::uint8_t, 3>;

/// Directions in ITK's world, whose axes run to the patient's left, to posterior and to superior.
using Direction = std::array<double, 3>;
namespace towards {
constexpr Direction left = {1, 0, 0};
constexpr Direction right = {-1, 0, 0};
constexpr Direction posterior = {0, 1, 0};
constexpr Direction anterior = {0, -1, 0};
constexpr Direction superior = {0, 0, 1};
}  // namespace towards

/// Voxels along each side of the network's input.
constexpr unsigned network_side = 128;

Volume::Pointer read_volume(const std::filesystem::path& path);

/// The same voxels with the axes permuted and flipped so that they run most nearly in these directions.
Volume::Pointer reorient(const Volume* volume, const std::array<Direction, 3>& axes);

/// What the network takes: `network_side` voxels along each axis, from 0 to 1, in memory as deepbrain's arrays are.
Volume::Pointer to_network(const Volume* volume);

/// The brain on the grid of `native`: where the network's probability, resampled onto it, is above one half.
Mask::Pointer to_mask(const Volume* probability, const Volume* native);

/// Where `reference` is above 0, on the grid of `native`.
Mask::Pointer to_reference_mask(const Volume* reference, const Volume* native);

/// What the mask holds, in millilitres.
double millilitres(const Mask* mask);

/// The overlap of two masks on one grid: 1 if they are the same, 0 if they are apart.
double dice(const Mask* a, const Mask* b);

void write_mask(const Mask* mask, const std::filesystem::path& path);
