// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints of trace/shadowmm.h, and of each one a function rust_do_trace_X()
 * for trace.rs.
 */
#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "bindings.h"
