#pragma once
#include <string>
#include <vector>

#include "bit_cases.h"
#include "cpu/product/conv_product.h"

// The rows of the table of products, for tests of what runs on them.

namespace hardbit::test {

/// A product row, and with it one of the other operand and an elementwise row, of its instruction set or of
/// the next weaker one that has such.
struct NamedProductRows {
  std::string name;
  cpu::Operand operand;
  cpu::ProductRows rows;
};

/// Every product row that this CPU runs.
inline std::vector<NamedProductRows> product_rows() {
  const auto last = [](const auto& table, Isa isa, const auto& fits) {
    const auto* found = &table.front();
    for (const auto& row : table) {
      if (row.isa <= isa && available(row.isa) && fits(row)) found = &row;
    }
    return found;
  };
  std::vector<NamedProductRows> all;
  for (const auto& row : cpu::product_kernels()) {
    if (!available(row.isa)) continue;
    const auto& other = *last(cpu::product_kernels(), row.isa,
                              [&](const auto& candidate) { return candidate.operand != row.operand; });
    const auto& elements = *last(cpu::bit_kernels(), row.isa, [](const auto&) { return true; });
    const bool bits = row.operand == cpu::Operand::bits;
    all.push_back({row.name, row.operand, {bits ? row : other, bits ? other : row, elements}});
  }
  return all;
}

}  // namespace hardbit::test
