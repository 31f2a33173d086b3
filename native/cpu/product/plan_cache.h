#pragma once
#include <memory>

#include "cpu/product/conv_product.h"

namespace hardbit::cpu {

/// The plan of a layer: the one of an earlier call with the same weights, or a new one. Evaluation, attacks
/// and the steps of a search use frozen weights many times, but pack their signs into a new tensor each time;
/// so a plan is found by the contents of the weights, all of which are compared. That reads far less than
/// packing them writes, and a plan of weights that were overwritten is never taken for theirs. Thread-safe.
std::shared_ptr<const ConvProduct> cached_plan(const ProductRows& rows, const ops::Conv2d& conv,
                                               ops::PaddingValue padding, Input input, int bits,
                                               const std::uint64_t* weights);

/// Bytes of the plans kept, their copies of the weights included; at most 32 MiB.
std::size_t cached_plan_bytes();
/// Drops all plans that no call is using.
void forget_plans();

}  // namespace hardbit::cpu
