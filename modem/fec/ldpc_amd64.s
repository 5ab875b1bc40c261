//go:build amd64 && !purego

#include "textflag.h"

// Constants of ldpc_decode.go, one per lane.
DATA ldpcMaxMag<>+0(SB)/4, $0x1fff1fff // maxMag
GLOBL ldpcMaxMag<>(SB), RODATA|NOPTR, $4
DATA ldpcCorrZero<>+0(SB)/4, $0x013e013e // corrZero
GLOBL ldpcCorrZero<>(SB), RODATA|NOPTR, $4
DATA ldpcOne<>+0(SB)/4, $0x00010001
GLOBL ldpcOne<>(SB), RODATA|NOPTR, $4

// Registers:
//   DI post   SI messages of the row   DX taps   CX degree   R8 2Z   R10 octets from edge to edge in messages
//   R11 scratch: 96 octets for each edge: bit-to-check message, its magnitude, forward ⊞
//   R12 octets into the lanes   R13 tap   BX message   AX scratch of the edge   R9 counts edges
//   Y15 maxMag   Y14 corrZero   Y13 ones   Y12 product of signs   Y0 forward or backward ⊞

// BITTOCHECK reads the posterior of the edge's bits with its rotation, takes
// the old message out (Y1), and leaves its magnitude in Y2.
#define BITTOCHECK \
	MOVLQSX 8(R13), R15       \
	ADDQ    R12, R15          \
	MOVQ    R15, R14          \
	SUBQ    R8, R14           \
	CMOVQCC R14, R15          \
	MOVLQSX 0(R13), R14       \
	ADDQ    R14, R15          \
	VMOVDQU (DI)(R15*1), Y1   \
	VPSUBSW (BX), Y1, Y1      \
	VMOVDQA Y1, 0(AX)         \
	VPXOR   Y1, Y12, Y12      \
	VPABSW  Y1, Y2            \
	VPMINUW Y15, Y2, Y2       \
	VMOVDQA Y2, 32(AX)

// BOXPLUS is C = A ⊞ B over magnitudes; it uses Y5 to Y7.
#define BOXPLUS(A, B, C) \
	VPMINUW  A, B, Y5    \
	VPMAXUW  A, B, Y6    \
	VPADDW   A, B, Y7    \
	VPSUBW   Y5, Y6, Y6  \
	VPSUBUSW Y7, Y14, Y7 \
	VPSUBUSW Y6, Y14, Y6 \
	VPSLLW   $7, Y7, Y7  \
	VPSLLW   $7, Y6, Y6  \
	VPMULHUW Y7, Y7, Y7  \
	VPMULHUW Y6, Y6, Y6  \
	VPMULHUW Y7, Y7, Y7  \
	VPMULHUW Y6, Y6, Y6  \
	VPSUBW   Y7, Y6, Y6  \
	VPSRLW   $8, Y6, Y6  \
	VPSUBUSW Y6, Y5, C

// CHECKTOBIT gives the magnitude M its sign, stores it as the new message and
// stores the new posterior.
#define CHECKTOBIT(M) \
	VMOVDQA 0(AX), Y1           \
	VPXOR   Y12, Y1, Y3         \
	VPOR    Y13, Y3, Y3         \
	VPSIGNW Y3, M, Y3           \
	VMOVDQU Y3, (BX)            \
	VPADDSW Y3, Y1, Y1          \
	MOVLQSX 4(R13), R15         \
	ADDQ    R12, R15            \
	VMOVDQU Y1, (DI)(R15*1)

// func layerVector(post, msg *int16, taps *tap, degree, z, groups int)
TEXT ·layerVector(SB), 0, $1856-48
	MOVQ post+0(FP), DI
	MOVQ msg+8(FP), SI
	MOVQ taps+16(FP), DX
	MOVQ degree+24(FP), CX
	MOVQ z+32(FP), R8
	MOVQ groups+40(FP), R10
	SHLQ $1, R8
	SHLQ $5, R10
	LEAQ 31(SP), R11
	ANDQ $~31, R11
	VPBROADCASTD ldpcMaxMag<>(SB), Y15
	VPBROADCASTD ldpcCorrZero<>(SB), Y14
	VPBROADCASTD ldpcOne<>(SB), Y13
	XORQ R12, R12

group:
	MOVQ  DX, R13
	LEAQ  (SI)(R12*1), BX
	MOVQ  R11, AX
	VPXOR Y12, Y12, Y12

	BITTOCHECK
	VMOVDQA Y2, 64(AX)
	VMOVDQA Y2, Y0
	MOVQ    CX, R9
	SUBQ    $2, R9
	JLE     forwardLast

forward:
	ADDQ $12, R13
	ADDQ R10, BX
	ADDQ $96, AX
	BITTOCHECK
	BOXPLUS(Y0, Y2, Y0)
	VMOVDQA Y0, 64(AX)
	DECQ R9
	JNZ  forward

forwardLast:
	ADDQ $12, R13
	ADDQ R10, BX
	ADDQ $96, AX
	BITTOCHECK

	// The last edge gets what came forward; backward starts with its message.
	CHECKTOBIT(Y0)
	VMOVDQA Y2, Y0
	MOVQ    CX, R9
	SUBQ    $2, R9
	JLE     backwardLast

backward:
	SUBQ    $12, R13
	SUBQ    R10, BX
	SUBQ    $96, AX
	VMOVDQA -32(AX), Y4
	BOXPLUS(Y4, Y0, Y4)
	VMOVDQA 32(AX), Y2
	BOXPLUS(Y0, Y2, Y0)
	CHECKTOBIT(Y4)
	DECQ R9
	JNZ  backward

backwardLast:
	SUBQ $12, R13
	SUBQ R10, BX
	SUBQ $96, AX
	CHECKTOBIT(Y0)

	ADDQ $32, R12
	CMPQ R12, R10
	JLT  group

	// Repeat the first lanes behind each column.
repeat:
	MOVLQSX 4(DX), R15
	ADDQ    DI, R15
	VMOVDQU (R15), Y1
	VMOVDQU Y1, (R15)(R8*1)
	ADDQ    $12, DX
	DECQ    CX
	JNZ     repeat

	VZEROUPPER
	RET

// func parityVector(post *int16, taps *tap, degree, z, groups int) int
TEXT ·parityVector(SB), NOSPLIT, $0-48
	MOVQ  post+0(FP), DI
	MOVQ  taps+8(FP), DX
	MOVQ  degree+16(FP), CX
	MOVQ  z+24(FP), R8
	MOVQ  groups+32(FP), R10
	SHLQ  $1, R8
	SHLQ  $5, R10
	XORQ  R12, R12
	VPXOR Y2, Y2, Y2

parityGroup:
	MOVQ  DX, R13
	MOVQ  CX, R9
	VPXOR Y1, Y1, Y1

parityEdge:
	MOVLQSX 8(R13), R15
	ADDQ    R12, R15
	MOVQ    R15, R14
	SUBQ    R8, R14
	CMOVQCC R14, R15
	MOVLQSX 0(R13), R14
	ADDQ    R14, R15
	VPXOR   (DI)(R15*1), Y1, Y1
	ADDQ    $12, R13
	DECQ    R9
	JNZ     parityEdge

	VPOR Y1, Y2, Y2
	ADDQ $32, R12
	CMPQ R12, R10
	JLT  parityGroup

	VPSRAW    $15, Y2, Y2
	VPMOVMSKB Y2, AX
	MOVQ      AX, ret+40(FP)
	VZEROUPPER
	RET
