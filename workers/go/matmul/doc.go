// Package matmul is the kernel that the example tuning job tunes: a blocked
// float32 matrix product C = A·B that runs in a worker and is measured there.
//
// It owns the kernel's configuration space ([Config]), the micro-kernels, the
// scratchpad that packed tiles go to, the clock and the reference result.
//
//	Config: TileM × TileN × TileK, loop order, unroll-and-jam factor, packing
//
//	for each tile, in loop order ── pack A, B into the scratchpad (if asked)
//	                             └─ for each element, in loop order,
//	                                  the middle loop unrolled and jammed
//	                                  into the innermost ── micro-kernel
//
// All six loop orders come down to three nests: for the other three the
// operands are swapped and transposed (Cᵀ = Bᵀ·Aᵀ), which for a strided view
// costs nothing.
//
// The kernel behaves as kernels under tuning do. A configuration is not checked
// against the device before it runs: the scratchpad has [ScratchpadBytes]
// bytes, packed tiles are copied into it through raw pointers, and tiles that do
// not fit run over its end into unmapped memory, so the worker dies of SIGSEGV.
// Tiny tiles spend their time on loop overhead, and on a large problem that
// takes longer than any sensible session timeout.
//
// What a crash loses: the worker process, and with it the session. Nothing of
// the kernel's outlives a call.
package matmul
