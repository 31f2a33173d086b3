#pragma once
#include <cstdint>
#include <vector>

#include "cpu/product/conv_product.h"

namespace hardbit::cpu {

/// What products by ±1 cost on an instruction set, in 32-bit words of bits combined with one channel.
struct OperandCosts {
  Isa isa;
  /// A plane's beginning and end, in words.
  int plane;
  /// To make a kernel row of one plane's patch, for all channels together.
  int patch_row;
  /// A word of four codes as bytes against a channel, in percent.
  int bytes;
};

/// A row of the measured table.
const OperandCosts& operand_costs(Isa isa);

/// What a convolution of codes of `bits` bits by ±1 runs on: planes of bits, or bytes.
Operand choose_operand(const ops::Conv2d& conv, int bits, const ProductRows& rows);

/// What choose_operand() says of layers as networks have them: rows of a table for people.
struct ChoiceExample {
  const char* layer;
  int bits;
  Operand operand;
};
std::vector<ChoiceExample> choice_examples(const ProductRows& rows);

}  // namespace hardbit::cpu
