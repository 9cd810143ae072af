// Pictures for people: the anatomy in grey, the mask over it in colour.

#pragma once

#include "volume.hpp"

#include <filesystem>

/// Writes axial.png, coronal.png and sagittal.png into `folder`: planes through the middle of the mask, all at one
/// scale, shown as radiologists expect them. The patient's right is at the left, anterior or superior at the top; in
/// the sagittal plane anterior is at the left. Letters at the edges say so.
void write_overlays(const Volume* volume, const Mask* mask, const std::filesystem::path& folder);
