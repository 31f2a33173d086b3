#pragma once
#include <span>

#include "runtime/cpu_features.h"

namespace hardbit::cpu {

/// The last row of a table, plainest first, whose instruction set this CPU has and selected_isa() allows; the
/// first one where there is no other.
template <class Row>
const Row& select_row(std::span<const Row> rows) {
  const Row* best = &rows.front();
  for (const Row& row : rows) {
    bool present = false;
    for (const Isa isa : available_isas()) present = present || isa == row.isa;
    if (present && row.isa <= selected_isa()) best = &row;
  }
  return *best;
}

}  // namespace hardbit::cpu
