#include "volume.hpp"

#include <itkImageDuplicator.h>
#include <itkImageFileReader.h>
#include <itkImageFileWriter.h>
#include <itkImageIOFactory.h>
#include <itkImageLinearIteratorWithIndex.h>
#include <itkNearestNeighborInterpolateImageFunction.h>
#include <itkOrientImageFilter.h>
#include <itkResampleImageFilter.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace {

using Grid = itk::ImageBase<3>;

/// How many voxels of `from` one voxel of `to` spans along each axis of `from`. Both may name the axes differently.
std::array<double, 3> shrink_factors(const Volume* from, const Grid* to) {
    const auto cosines = from->GetInverseDirection() * to->GetDirection();
    std::array<double, 3> factors;
    for (unsigned axis = 0; axis < 3; ++axis) {
        double step = 0;
        for (unsigned other = 0; other < 3; ++other) {
            step = std::max(step, std::abs(cosines[axis][other]) * to->GetSpacing()[other]);
        }
        factors[axis] = step / from->GetSpacing()[axis];
    }
    return factors;
}

/// A sampled Gaussian, from the left end to the right one, whose sum is 1.
std::vector<double> gaussian(double sigma) {
    const int radius = static_cast<int>(4 * sigma + 0.5);
    std::vector<double> kernel;
    double sum = 0;
    for (int offset = -radius; offset <= radius; ++offset) {
        kernel.push_back(radius == 0 ? 1 : std::exp(-0.5 * offset * offset / (sigma * sigma)));
        sum += kernel.back();
    }
    for (double& weight : kernel) {
        weight /= sum;
    }
    return kernel;
}

/// Convolves every line along one axis with a kernel of odd length. Outside the volume there is air: 0.
void convolve(Volume* volume, unsigned axis, const std::vector<double>& kernel) {
    const auto region = volume->GetLargestPossibleRegion();
    const std::size_t length = region.GetSize(axis);
    const std::size_t radius = kernel.size() / 2;
    std::vector<float> padded(length + 2 * radius);
    itk::ImageLinearIteratorWithIndex<Volume> voxel(volume, region);
    voxel.SetDirection(axis);
    for (; !voxel.IsAtEnd(); voxel.NextLine()) {
        for (auto to = padded.begin() + static_cast<std::ptrdiff_t>(radius); !voxel.IsAtEndOfLine(); ++voxel, ++to) {
            *to = voxel.Get();
        }
        voxel.GoToBeginOfLine();
        for (auto from = padded.begin(); !voxel.IsAtEndOfLine(); ++voxel, ++from) {
            voxel.Set(static_cast<float>(std::inner_product(kernel.begin(), kernel.end(), from, 0.0)));
        }
    }
}

/// Trilinear. Along axes where voxels grow, details that would alias are smoothed away first, as deepbrain does it.
/// ITK's DiscreteGaussianImageFilter is another kernel: at these widths it smooths more, and the mask is not the same.
Volume::Pointer resample(const Volume* volume, const Grid* grid) {
    const auto duplicator = itk::ImageDuplicator<Volume>::New();
    duplicator->SetInputImage(volume);
    duplicator->Update();
    const Volume::Pointer smooth = duplicator->GetOutput();
    const auto factors = shrink_factors(volume, grid);
    for (unsigned axis = 0; axis < 3; ++axis) {
        if (factors[axis] > 1) {
            convolve(smooth, axis, gaussian((factors[axis] - 1) / 2));
        }
    }
    const auto resample = itk::ResampleImageFilter<Volume, Volume>::New();
    resample->SetInput(smooth);
    resample->SetReferenceImage(grid);
    resample->UseReferenceImageOn();
    resample->Update();
    return resample->GetOutput();
}

/// A grid of `network_side` voxels along each axis that covers what `volume` covers.
Volume::Pointer network_grid(const Volume* volume) {
    const auto size = volume->GetLargestPossibleRegion().GetSize();
    auto spacing = volume->GetSpacing();
    itk::ContinuousIndex<double, 3> first_centre;
    for (unsigned axis = 0; axis < 3; ++axis) {
        const double factor = static_cast<double>(size[axis]) / network_side;
        spacing[axis] *= factor;
        first_centre[axis] = 0.5 * factor - 0.5;
    }
    Volume::PointType origin;
    volume->TransformContinuousIndexToPhysicalPoint(first_centre, origin);

    const auto grid = Volume::New();
    grid->SetRegions(Volume::SizeType::Filled(network_side));
    grid->SetSpacing(spacing);
    grid->SetOrigin(origin);
    grid->SetDirection(volume->GetDirection());
    return grid;
}

Mask::Pointer above(const Volume* volume, float threshold) {
    const auto mask = Mask::New();
    mask->CopyInformation(volume);
    mask->SetRegions(volume->GetLargestPossibleRegion());
    mask->Allocate();
    const float* voxels = volume->GetBufferPointer();
    std::transform(voxels, voxels + volume->GetPixelContainer()->Size(), mask->GetBufferPointer(),
                   [=](float voxel) { return static_cast<std::uint8_t>(voxel > threshold); });
    return mask;
}

}  // namespace

Volume::Pointer read_volume(const std::filesystem::path& path) {
    const auto io = itk::ImageIOFactory::CreateImageIO(path.c_str(), itk::ImageIOFactory::IOFileModeEnum::ReadMode);
    if (!io) {
        throw std::runtime_error(path.string() + " is no image that ITK reads here: NIfTI (.nii, .nii.gz) is expected");
    }
    io->SetFileName(path.string());
    io->ReadImageInformation();
    bool is_volume = io->GetNumberOfDimensions() >= 3;
    for (unsigned axis = 0; axis < io->GetNumberOfDimensions(); ++axis) {
        is_volume = is_volume && (axis < 3) == (io->GetDimensions(axis) > 1);
    }
    if (!is_volume) {
        throw std::runtime_error(path.string() + " is not one volume in three dimensions");
    }
    const auto reader = itk::ImageFileReader<Volume>::New();
    reader->SetImageIO(io);
    reader->SetFileName(path.string());
    reader->Update();
    return reader->GetOutput();
}

Volume::Pointer reorient(const Volume* volume, const std::array<Direction, 3>& axes) {
    Volume::DirectionType direction;
    for (unsigned axis = 0; axis < 3; ++axis) {
        for (unsigned row = 0; row < 3; ++row) {
            direction[row][axis] = axes[axis][row];
        }
    }
    const auto orient = itk::OrientImageFilter<Volume, Volume>::New();
    orient->SetInput(volume);
    orient->UseImageDirectionOn();
    orient->SetDesiredCoordinateDirection(direction);
    orient->Update();
    return orient->GetOutput();
}

Volume::Pointer to_network(const Volume* volume) {
    // deepbrain's arrays have their axes to the right, anterior and superior, and the last one is contiguous in memory.
    // ITK's first axis is the contiguous one, so the order is turned round.
    const auto oriented = reorient(volume, {towards::superior, towards::anterior, towards::right});
    const auto image = resample(oriented, network_grid(oriented));

    float* voxels = image->GetBufferPointer();
    const auto end = voxels + image->GetPixelContainer()->Size();
    const float maximum = *std::max_element(voxels, end);
    if (maximum <= 0) {
        throw std::runtime_error("the volume has no voxel above 0");
    }
    std::for_each(voxels, end, [=](float& voxel) { voxel /= maximum; });
    return image;
}

Mask::Pointer to_mask(const Volume* probability, const Volume* native) {
    return above(resample(probability, native), 0.5F);
}

Mask::Pointer to_reference_mask(const Volume* reference, const Volume* native) {
    const auto resample = itk::ResampleImageFilter<Volume, Volume>::New();
    resample->SetInput(reference);
    resample->SetReferenceImage(native);
    resample->UseReferenceImageOn();
    resample->SetInterpolator(itk::NearestNeighborInterpolateImageFunction<Volume>::New());
    resample->Update();
    return above(resample->GetOutput(), 0);
}

double millilitres(const Mask* mask) {
    const std::uint8_t* voxels = mask->GetBufferPointer();
    const auto count = std::count(voxels, voxels + mask->GetPixelContainer()->Size(), 1);
    const auto spacing = mask->GetSpacing();
    return static_cast<double>(count) * spacing[0] * spacing[1] * spacing[2] / 1000;
}

double dice(const Mask* a, const Mask* b) {
    std::size_t in_both = 0;
    std::size_t in_each = 0;
    const std::uint8_t* voxel_a = a->GetBufferPointer();
    const std::uint8_t* voxel_b = b->GetBufferPointer();
    for (const auto end = voxel_a + a->GetPixelContainer()->Size(); voxel_a != end; ++voxel_a, ++voxel_b) {
        in_both += *voxel_a & *voxel_b;
        in_each += *voxel_a + *voxel_b;
    }
    return in_each == 0 ? 1 : 2.0 * static_cast<double>(in_both) / static_cast<double>(in_each);
}

void write_mask(const Mask* mask, const std::filesystem::path& path) {
    const auto writer = itk::ImageFileWriter<Mask>::New();
    writer->SetInput(mask);
    writer->SetFileName(path.string());
    writer->UseCompressionOn();
    writer->Update();
}
