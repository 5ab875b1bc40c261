; The loops that handle light. No interrupt runs in them: a chip is 16 cycles at
; rate 0, an interrupt takes 45. Every cycle is counted instead; the macros say
; in their first line how many cycles they take on every path through them.
;
; A slot U serves the UART both ways. Between two slots lie at most 64 cycles
; (2 Mbaud: an octet each 80), where a frame begins and ends at most 160: the UART
; holds two octets and the third until the next one starts, which is 164 cycles
; after a slot that just found nothing.
;
; Rates: \d is 1, 2 or 4 where the loop is laid out for it, 0 for the loop that
; takes its length from registers (rates 3 to 5; transmit: 1 to 5).

#define __SFR_OFFSET 0x20
#include <avr/io.h>
#include "loops.h"

#define HEADL r26		/* X: where the next octet from the host goes in the ring */
#define HEADH r27
#define OTAIL r28		/* Y: the next octet to the host, in page 1 */
#define CNTL r24
#define CNTH r25
#define D r23			/* the octet at hand, one behind the octet on the light */
#define DATA r22		/* the octet on the light */
#define T r21
#define THR r20			/* receive: violations in one octet from which the frame is given up */
#define FLAGS r19
#define VIOL r18
#define OHEAD r17		/* end of what may leave for the host */
#define OPROV r16		/* end of what was written: provisional until the header is known to be good */
#define CRCL r12
#define CRCH r13
#define A r11			/* the line in the first half of a bit */
#define C r10			/* … and in the second */
#define ZERO r1

#define PIN _SFR_IO_ADDR(PIND)
#define RXBIT 4			/* PD4, which is T0 too */
#define N1E _SFR_IO_ADDR(GPIOR0)
#define N1L _SFR_IO_ADDR(GPIOR1)
#define N3 _SFR_IO_ADDR(GPIOR2)
#define N2 _SFR_IO_ADDR(EEDR)
#define LENGTHH _SFR_IO_ADDR(EEARL)	/* idle registers that OUT reaches: the EEPROM's, */
#define EDGES0 _SFR_IO_ADDR(OCR0A)	/* a compare register without a use */

; flags of the receiver
#define HOLD 0			/* nothing leaves for the host */
#define HDR 1			/* the header is being read */
#define PRBS 2			/* HOLD stays */
; flags of the transmitter
#define STOP 0			/* the octet on the light is the last */
#define DRY 1			/* the ring was empty, or the frame was broken off */
#define ESC 2			/* the octet at hand is an escape */
#define NOFETCH 7		/* STOP or DRY */

.macro NOPS n
.rept \n
	nop
.endr
.endm

; 13 cycles. A received octet into the ring; if there is none, an octet to the host.
.macro U
	lds T, UCSR0A
	sbrc T, RXC0
	rjmp .Lhear\@
	sbrs T, UDRE0
	rjmp .Lbusy\@
	ld T, Y
	cpse OTAIL, OHEAD
	sts UDR0, T
	cpse OTAIL, OHEAD
	inc OTAIL
.Lserved\@:
.subsection 1
.Lhear\@:
	lds T, UDR0
	st X+, T
	sbrc HEADH, 3
	ldi HEADH, hi8(RING)
	rjmp .Lserved\@
.Lbusy\@:
	NOPS 4
	rjmp .Lserved\@
.subsection 0
.endm

; 16 * r0 - 1 cycles
.macro LOOP16
.Lloop\@:
	U
	dec r0
	brne .Lloop\@
.endm

; Saves and loads what the loops need; interrupts are off until LEAVE.
.macro ENTER
	cli
	.irp r, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,28,29
	push r\r
	.endr
	lds HEADL, ring_head
	lds HEADH, ring_head+1
	lds OTAIL, out_tail
	ldi r29, hi8(OUT)
	lds OHEAD, out_head
	mov OPROV, OHEAD
.endm

.macro LEAVE
	sts ring_head, HEADL
	sts ring_head+1, HEADH
	sts out_tail, OTAIL
	sts out_head, OHEAD
	sts out_prov, OPROV
	.irp r, 29,28,17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2
	pop r\r
	.endr
	clr ZERO
	sei
	ret
.endm

; CRC-16/X-25 by table: 2 and 10 cycles, of D into CRC.
.macro CRC_A
	mov r30, D
	eor r30, CRCL
.endm
.macro CRC_B
	ldi r31, hi8(crc_lo)
	lpm T, Z
	eor T, CRCH
	mov CRCL, T
	inc r31
	lpm CRCH, Z
.endm

; ---------------------------------------------------------------- receiving
;
; A bit of 32*d cycles, as the loop sees it:
;
;   0      in A         first half: the bit itself
;   8*d    in r0        the edge in the middle: there already (we are late) or not
;                       yet (we are early)? The next bit comes a little earlier or
;                       later: a bang-bang phase-locked loop (Alexander 1975),
;                       +-3 % a bit, which also follows a clock that is 2 % off
;   16*d-1 in C         second half: if it equals the first, a violation
;   32*d   in A         the next bit
;
; B, A1 and A2 are places for 4, 2 and 13 cycles of other work.

; 8*(d-1) cycles
.macro PADQ3 d
.if \d == 2
	rcall wait8_\d
.elseif \d == 4
	rcall u20_\d
	NOPS 4
.elseif \d == 0
	in r0, N3
	LOOP16
	rcall wait8_\d
.endif
.endm

; 3 + 8*(d-1) cycles in the mean, with r0 bit RXBIT: the edge was there
.macro ADJUST d
.if \d == 1
	sbrs r0, RXBIT
	lpm r0, Z
.elseif \d == 2
	sbrs r0, RXBIT
	rcall wait7_\d
	NOPS 6
.elseif \d == 4
	sbrs r0, RXBIT
	rcall wait11_\d
	rcall u20_\d
.else
	in T, N1E
	sbrs r0, RXBIT
	in T, N1L
	mov r0, T
	LOOP16
	rcall wait8_\d
.endif
.endm

; 16*(d-1) cycles
.macro PAD16 d
.if \d == 2
	U
	NOPS 3
.elseif \d == 4
	rcall u20_\d
	rcall u20_\d
	rcall wait8_\d
.elseif \d == 0
	in r0, N2
	LOOP16
.endif
.endm

.macro BIT d, B, A1, A2
	in A, PIN
	bst A, RXBIT
	lsl DATA
	bld DATA, 0
	\B
	PADQ3 \d
	in r0, PIN
	eor r0, A
	ADJUST \d
	\A1
	in C, PIN
	eor C, A
	sbrs C, RXBIT
	inc VIOL
	PAD16 \d
	\A2
.endm

.macro N4
	NOPS 4
.endm
.macro N2C
	NOPS 2
.endm
; The last eight octets stay in r2 to r9: after eight octets that is the header.
.macro SHIFT_A
	mov r2, r3
	mov r3, r4
	mov r4, r5
	mov r5, r6
.endm
.macro SHIFT_B
	mov r6, r7
	mov r7, r8
	mov r8, r9
	mov r9, D
.endm
.macro CRC_B13
	CRC_B
	NOPS 3
.endm
; 13: if D must be escaped, write the escape and change D
.macro ESCAPE
	mov T, D
	subi T, MARK
	cpi T, 3
	brcs 1f
	NOPS 6
	rjmp 2f
1:	ldi T, ESCAPED
	mov r30, OPROV
	ldi r31, hi8(OUT)
	st Z, T
	inc OPROV
	ldi T, 0x20
	eor D, T
2:
.endm
.macro PUSH_A
	mov r30, OPROV
	ldi r31, hi8(OUT)
.endm
; 13: D to the host, unless the buffer is full
.macro PUSH_B
	st Z, D
	inc OPROV
	mov T, OPROV
	sub T, OTAIL
	cpi T, 250
	brcs 1f
	jmp rx_full
1:	sbrs FLAGS, HOLD
	mov OHEAD, OPROV
	NOPS 3
.endm

; The header's check, in the octet that follows it. r2, r3: EB 90; r4 r6 r8 and
; r5 r7 r9: the length's copies.
.macro TIME_B
	lds r30, TCNT1L
	lds r31, TCNT1H
.endm
.macro MAJORITY_A
	mov CNTL, r4
	and CNTL, r6
.endm
.macro MAJORITY_B
	mov T, r4
	or T, r6
	and T, r8
	or CNTL, T
	mov CNTH, r5
	and CNTH, r7
	mov T, r5
	or T, r7
	and T, r9
	or CNTH, T
	mov THR, CNTH
	swap THR
	eor THR, CNTH
.endm
.macro NIBBLES_A
	mov T, CNTL
	swap T
	eor T, CNTL
	eor THR, T
.endm
.macro NIBBLES_B
	andi THR, 0x0F
	cpi THR, 0x0A
	breq 1f
	jmp rx_reject
1:
.endm
.macro TIME_A1
	movw r4, r30
	nop
.endm
.macro TIME_S1
	sts light_time, r4
.endm
.macro LENGTH
	andi CNTH, 0x0F
	out LENGTHH, CNTH
	sts light_time+1, r5
.endm
.macro LENGTH_Z
	adiw CNTL, 0
	brne 1f
	jmp rx_reject
1:
.endm
.macro LENGTH_L
	sts light_length, CNTL
.endm
.macro EDGES
	in T, _SFR_IO_ADDR(TCNT0)
	out EDGES0, T
.endm
.macro WORD_A
	ldi r30, SYNC0
	eor r30, r2
.endm
.macro WORD_B
	ldi r31, hi8(ones)
	lpm THR, Z
	ldi r30, SYNC1
	eor r30, r3
	lpm T, Z
	add THR, T
	cpi THR, 3
	brcs 1f
	jmp rx_reject
1:
.endm
.macro GOOD
	ldi THR, 255
	cbr FLAGS, 1<<HDR
	sbrs FLAGS, PRBS
	cbr FLAGS, 1<<HOLD
.endm
; 8 of 13: one more octet is complete
.macro OCTET
	mov D, DATA
	cp VIOL, THR
	brcs 1f
	jmp rx_reject
1:	add r14, VIOL
	adc r15, ZERO
	clr VIOL
	sbiw CNTL, 1
.endm

.macro RECEIVER d, name
	.section .text.\name, "ax", @progbits
	.global \name
\name:
.if \d == 1
	NOPS 2
.elseif \d == 2
	NOPS 10
.elseif \d == 4
	rcall u20_\d
	NOPS 6
.else
	in r0, N3
	LOOP16
.endif
\name\()_octet:
	BIT \d, SHIFT_A, N2C, U
	BIT \d, SHIFT_B, CRC_A, CRC_B13
	BIT \d, N4, N2C, U
	BIT \d, N4, N2C, ESCAPE
	BIT \d, N4, N2C, U
	BIT \d, N4, PUSH_A, PUSH_B
	BIT \d, N4, N2C, U
	BIT \d, N4, N2C, OCTET
	breq 1f
	nop
	rjmp \name\()_octet
1:	sbrs FLAGS, HDR
	rjmp \name\()_end
	; the first octet of the body
	BIT \d, SHIFT_A, EDGES, U
	BIT \d, SHIFT_B, CRC_A, CRC_B13
	BIT \d, TIME_B, MAJORITY_A, MAJORITY_B
	BIT \d, NIBBLES_A, TIME_A1, ESCAPE
	BIT \d, NIBBLES_B, TIME_S1, U
	BIT \d, LENGTH, PUSH_A, PUSH_B
	BIT \d, LENGTH_Z, WORD_A, WORD_B
	BIT \d, GOOD, LENGTH_L, OCTET
	breq \name\()_end
	nop
	rjmp \name\()_octet
\name\()_end:
	jmp rx_end
	; with call and return 20, 11, 8 and 7 cycles
u20_\d:
	U
	ret
wait11_\d:
	NOPS 3
wait8_\d:
	nop
wait7_\d:
	ret
.endm

	RECEIVER 1, rx1
	RECEIVER 2, rx2
	RECEIVER 4, rx4
	RECEIVER 0, rxn

	.section .text.light, "ax", @progbits
; What a receiver finds in the registers, and the opening flag of the message
; to the host, written where the buffer goes on but not yet given away.
.macro PRESET
	ldi T, FLAG
	mov r30, OHEAD
	ldi r31, hi8(OUT)
	st Z, T
	mov OPROV, OHEAD
	inc OPROV
	ser T
	mov CRCL, T
	mov CRCH, T
	clr r14
	clr r15
	ldi CNTL, 8
	ldi CNTH, 0
	lds FLAGS, light_mode
	ori FLAGS, 1<<HOLD | 1<<HDR
	ldi DATA, 60
.endm

; uint8_t light_hunt(void): serves the UART and looks for a frame. Returns
; LIGHT_QUIET when the line has not changed for 70 us (the runs of rates 0 to 3
; are shorter) or after 30 ms of chatter or 255 false starts; LIGHT_FRAME or LIGHT_FULL when a frame
; was heard.
;
; Timer 0 counts rising edges: a run began at the last change of the count or of
; the line. Without it a square wave of about the loop's own period would look
; like a run.
;
; r2:r3 time of the last edge; A the line since; THR the edges counted by then;
; DATA:C patience; r6:r7 the run of darkness at which the fine search begins;
; r8:r9 the run of 8 chips.
	.global light_hunt
light_hunt:
	ENTER
	lds r2, hunt_last
	lds r3, hunt_last+1
	lds A, hunt_level
	lds THR, hunt_count
	ser T
	sts hunt_tries, T
hunt_preset:
	PRESET
hunt:				; 31 cycles a turn
	U
	dec C
	brne 1f
	dec DATA
	breq hunt_quiet
1:	in VIOL, _SFR_IO_ADDR(TCNT0)
	cp VIOL, THR
	brne hunt_rise
	lds T, TCNT1L
	lds VIOL, TCNT1H
	sub T, r2
	sbc VIOL, r3
	in r0, PIN
	eor r0, A
	sbrc r0, RXBIT
	rjmp hunt_edge
	cpi T, 140
	cpc VIOL, ZERO
	brcs hunt
hunt_quiet:
	mov OPROV, OHEAD
	sts hunt_last, r2
	sts hunt_last+1, r3
	sts hunt_level, A
	sts hunt_count, THR
	ldi r24, LIGHT_QUIET
	LEAVE
hunt_rise:
	mov THR, VIOL
	lds r2, TCNT1L
	lds r3, TCNT1H
	in A, PIN
	rjmp hunt

hunt_again:
	rjmp hunt
hunt_edge:
	eor A, r0
	add r2, T
	adc r3, VIOL
	sbrc A, RXBIT
	rjmp hunt
	; A run of light is over. Were that 8 chips of a rate?
	lsr VIOL
	ror T
	lsr VIOL
	ror T
	tst VIOL
	brne hunt_again
	mov r30, T
	ldi r31, hi8(runs)
	lpm r30, Z
	cpi r30, 0xFF
	breq hunt_again
	mov D, r30
	lds T, hunt_mask
	tst D
	brne 1f
	rjmp hunt_rate0
1:	lsr T
	dec r30
	brpl 1b
	brcc hunt_again		; we were told not to listen at that rate
	sts light_rate, D
	mov r30, D
	swap r30
	lsr r30			; 8 octets for each rate
	ldi r31, 0
	subi r30, lo8(-(hunt_rates))
	sbci r31, hi8(-(hunt_rates))
	lpm r6, Z+
	lpm r7, Z+
	lpm r8, Z+
	lpm r9, Z+
	lpm r4, Z+		; where the receiver of that rate begins
	lpm r5, Z+
1:	; Wait for most of the run of darkness.
	in r0, PIN
	sbrc r0, RXBIT
	rjmp hunt
	lds T, TCNT1L
	lds VIOL, TCNT1H
	sub T, r2
	sbc VIOL, r3
	cp T, r6
	cpc VIOL, r7
	brcc 2f
	U
	rjmp 1b
2:	inc THR
	sts hunt_count, THR	; what a false start goes back to
	sts hunt_last, r2
	sts hunt_last+1, r3
	sts hunt_run, r8
	sts hunt_run+1, r9
	U
	cpi D, 3
	ldi D, TYPE_RX		; the octet that the receiver takes for the one before the first
	ldi VIOL, 0
	ldi THR, 6
	brcs 1f
	rjmp 4f
hunt_rate0:
	; The run is 128 cycles, of which 31 may be over before hunt_edge: no time for
	; tables. These lines take 65, more than the 32 of data's own runs.
	sbrs T, 0
	rjmp hunt
	sts light_rate, D
	inc THR
	sts hunt_count, THR
	sts hunt_last, r2
	sts hunt_last+1, r3
	U
	ldi T, 16
	sts hunt_run, T
	sts hunt_run+1, ZERO
	ldi D, TYPE_RX
	ldi VIOL, 0
	ldi THR, 6
	ldi r30, lo8(gs(rx1))
	ldi r31, hi8(gs(rx1))
	sbic PIN, RXBIT
	rjmp rx_reject
	rjmp 2f
1:	; The reference edge, to 2 cycles. No slot for 150 cycles, or 90.
	movw r30, r4
.rept 30
	sbic PIN, RXBIT
	rjmp 3f
.endr
2:
.rept 45
	sbic PIN, RXBIT
	rjmp 3f
.endr
	rjmp rx_reject
3:	ijmp
4:	; The same at slow rates, to 30 cycles; the receiver's lengths first.
	lpm T, Z+
	lpm r0, Z
	out N3, T
	mov CNTH, T
	sub CNTH, r0
	out N1E, CNTH
	mov CNTH, T
	add CNTH, r0
	out N1L, CNTH
	lsl T
	inc T
	out N2, T
	clr CNTH
	movw r30, r4
5:	U
	sbic PIN, RXBIT
	ijmp
	lds T, TCNT1L
	lds CNTL, TCNT1H
	sub T, r2
	sbc CNTL, r3
	sub T, r8
	sbc CNTL, r9
	brcs 6f
	sub T, r6		; 8 chips and as much again as we waited
	sbc CNTL, r7
	brcc rx_reject
6:	ldi CNTL, 8
	rjmp 5b

; No frame. If the line has not changed since the edge taken for its reference,
; that edge may still open the run of a true one.
rx_reject:
	U
	lds T, light_false
	lds THR, light_false+1
	subi T, -1
	sbci THR, -1
	sts light_false, T
	sts light_false+1, THR
	lds r2, hunt_last
	lds r3, hunt_last+1
	lds T, hunt_run
	add r2, T
	lds T, hunt_run+1
	adc r3, T
	ldi T, 1<<RXBIT
	mov A, T
	lds THR, hunt_count
	lds OPROV, hunt_tries
	dec OPROV
	sts hunt_tries, OPROV
	breq 1f
	rjmp hunt_preset
1:	rjmp hunt_quiet

rx_full:
	ldi VIOL, LIGHT_FULL
	rjmp rx_leave
rx_end:
	ldi VIOL, LIGHT_FRAME
	sbrs FLAGS, HOLD	; a body of one octet: the header still waits
	mov OHEAD, OPROV
rx_leave:
	lds r30, TCNT1L
	lds r31, TCNT1H
	sts hunt_last, r30
	sts hunt_last+1, r31
	U
	in A, PIN
	sts hunt_level, A
	in A, _SFR_IO_ADDR(TCNT0)
	sts hunt_count, A
	sts light_octet, D
	sts light_crc, CRCL
	sts light_crc+1, CRCH
	sts light_left, CNTL
	sts light_left+1, CNTH
	sts light_viol, r14
	sts light_viol+1, r15
	mov r24, VIOL
	LEAVE

; ------------------------------------------------------------------- tables
; The first three begin at a page, so that an index is a low address.
	.section .text.tables, "a", @progbits
	.balign 256
; CRC-16/X-25: low octets, then high octets
	.global crc_lo
.macro CRCTABLE shift
.set i, 0
.rept 256
	.set c, i
	.rept 8
	.if c & 1
	.set c, (c >> 1) ^ 0x8408
	.else
	.set c, c >> 1
	.endif
	.endr
	.byte (c >> \shift) & 0xFF
	.set i, i + 1
.endr
.endm
crc_lo:	CRCTABLE 0
	CRCTABLE 8
; bits set
	.global ones
ones:
.set i, 0
.rept 256
	.set c, i
	.set n, 0
	.rept 8
	.set n, n + (c & 1)
	.set c, c >> 1
	.endr
	.byte n
	.set i, i + 1
.endr
; a run of 4n to 4n+3 ticks of 0.5 us: 8 chips of which rate? The run is seen to
; 30 cycles, at the slow rates to what C took between two calls.
runs:
	.fill 2, 1, 0xFF	; data's own runs: 2 chips, which may seem 8 ticks long
	.fill 4, 1, 0		; 16 ticks, which may seem 10 to 20
	.fill 1, 1, 0xFF
	.fill 3, 1, 1		; 32
	.fill 3, 1, 0xFF
	.fill 6, 1, 2		; 64
	.fill 5, 1, 0xFF
	.fill 16, 1, 3		; 128
	.fill 12, 1, 0xFF
	.fill 28, 1, 4		; 256
	.fill 90, 1, 0xFF
	.fill 60, 1, 5		; 800
	.fill 26, 1, 0xFF
; for each rate: ticks of darkness before the fine search, more than data have
; and as many as let its 210 cycles (rates 0 to 2) reach past the run's end; ticks of 8 chips; the receiver; the slow
; receiver's half-chip in units of 16 cycles, less one, and its clock's step
.macro RATE fine, d, receiver, step
	.word \fine, 16 * \d, gs(\receiver)
	.byte (\d / 2 - 1) & 0xFF, \step
.endm
hunt_rates:
	RATE 0, 1, rx1, 0
	RATE 18, 2, rx2, 0
	RATE 48, 4, rx4, 0
	RATE 40, 8, rxn, 1
	RATE 80, 16, rxn, 1
	RATE 250, 50, rxn, 3

; -------------------------------------------------------------- transmitting
;
; A bit is two chips of 16*d cycles: OUT, C1 (15 cycles), padding; OUT, padding,
; C2 (11 cycles), the next level. r2 the level, r3 a light chip, r4 up to where
; the host got its credit, r5 what broke the frame off, r6 d-1, r7 idle light,
; r8:r9 the header, r10:r11 the octets that were the host's to send and did not
; come, r14:r15 the ring's tail.

#define LEVEL r2
#define LIGHT r3
#define GIVEN r4
#define CAUSE r5
#define EXTRA r6
#define IDLE r7
#define MISSING r10
#define TAILL r14
#define TAILH r15
#define PORT _SFR_IO_ADDR(PORTB)
#define TOGGLE _SFR_IO_ADDR(PINB)

; 16*(d-1) cycles
.macro TPAD d
.if \d == 0
	mov r0, EXTRA
	LOOP16
.endif
.endm

; 4 cycles: the level of the next bit's first chip
.macro NEXTLEVEL
	mov LEVEL, ZERO
	sbrc DATA, 7
	mov LEVEL, LIGHT
	lsl DATA
.endm

; \C1 and the first chip, up to the middle of the bit
.macro HALF d, C1
	out PORT, LEVEL
	\C1
	TPAD \d
	out TOGGLE, LIGHT
	TPAD \d
.endm

.macro TBIT d, C1, C2
	HALF \d, \C1
	\C2
	NEXTLEVEL
.endm

.macro U15
	U
	NOPS 2
.endm
.macro N11
	NOPS 11
.endm
.macro N15
	NOPS 15
.endm
.macro HFETCH			; 15: the next octet of the header
	movw r30, r8
	ld D, Z+
	movw r8, r30
	NOPS 11
.endm
.macro LAST			; 11: is the octet on the light the last?
	adiw CNTL, 0
	brne 1f
	ori FLAGS, 1<<STOP | 1<<NOFETCH
1:	ldi T, MARK
	mov r9, T
	NOPS 5
.endm
.macro CREDIT			; 11: a mark for each 64 octets taken
	mov T, TAILL
	andi T, 0xC0
	cp T, GIVEN
	brne 1f
	NOPS 5
	rjmp 2f
1:	mov GIVEN, T
	mov r30, OHEAD
	ldi r31, hi8(OUT)
	st Z, r9
	inc OHEAD
2:
.endm
.macro MARKS			; 11: their number, for the count of octets taken
	cpse GIVEN, THR
	inc OPROV
	mov THR, GIVEN
	NOPS 8
.endm
.macro FETCH			; 15: the next octet of the ring
	sbrc FLAGS, NOFETCH
	rjmp 1f
	cp TAILL, HEADL
	cpc TAILH, HEADH
	breq 2f
	movw r30, TAILL
	ld D, Z+
	sbrc r31, 3
	ldi r31, hi8(RING)
	movw TAILL, r30
	NOPS 2
	rjmp 3f
2:	ori FLAGS, 1<<DRY | 1<<NOFETCH
	ldi D, FILL
	movw MISSING, CNTL
	NOPS 4
	rjmp 3f
1:	ldi D, FILL
	NOPS 11
3:
.endm
.macro CLASSIFY			; 15: an escape, or the end of the frame before its time?
	sbrc FLAGS, NOFETCH
	rjmp 1f
	mov T, D
	subi T, MARK
	cpi T, 3
	brcc 2f
	cpi T, 1
	breq 3f
	mov CAUSE, T
	ori FLAGS, 1<<DRY | 1<<NOFETCH
	ldi D, FILL
	movw MISSING, CNTL
	nop
	rjmp 4f
3:	ori FLAGS, 1<<ESC
	NOPS 3
	rjmp 4f
2:	NOPS 6
	rjmp 4f
1:	NOPS 12
4:
.endm
.macro UNESCAPE			; 15
	sbrs FLAGS, ESC
	rjmp 1f
	cbr FLAGS, 1<<ESC
	cp TAILL, HEADL
	cpc TAILH, HEADH
	brne 3f
	rjmp 2f
3:	movw r30, TAILL
	ld D, Z+
	sbrc r31, 3
	ldi r31, hi8(RING)
	movw TAILL, r30
	ldi T, 0x20
	eor D, T
4:
.subsection 1
2:	ori FLAGS, 1<<DRY | 1<<NOFETCH
	ldi D, FILL
	movw MISSING, CNTL
	NOPS 2
	rjmp 4b
1:	NOPS 10
	rjmp 4b
.subsection 0
.endm
.macro CHECK			; 15
	sbrc FLAGS, NOFETCH
	rjmp 1f
	CRC_A
	CRC_B
	nop
2:
.subsection 1
1:	NOPS 10
	rjmp 2b
.subsection 0
.endm

; 128*d - 1 cycles, the last two of them \last
.macro CHIPS8 d, last:vararg
	ldi VIOL, 7
5:	TPAD \d
	U
	dec VIOL
	brne 5b
	TPAD \d
	U
	\last
.endm
.macro HCOUNT
	ldi VIOL, 7
	nop
.endm

.macro TRANSMITTER d, name
	.section .text.\name, "ax", @progbits
\name:
	ldi VIOL, 24
1:	out PORT, LIGHT
	U15
	TPAD \d
	out PORT, ZERO
	TPAD \d
	NOPS 12
	dec VIOL
	brne 1b
	nop
	out PORT, LIGHT
	CHIPS8 \d, N2C
	out PORT, ZERO
	CHIPS8 \d, HCOUNT
\name\()_header:
	TBIT \d, U15, N11
	TBIT \d, HFETCH, N11
	TBIT \d, U15, N11
	TBIT \d, N15, N11
	TBIT \d, U15, N11
	TBIT \d, N15, N11
	TBIT \d, U15, N11
	HALF \d, N15
	mov DATA, D
	NEXTLEVEL
	NOPS 6
	dec VIOL
	breq 1f
	rjmp \name\()_header
1:	nop
\name\()_octet:
	TBIT \d, U15, LAST
	TBIT \d, FETCH, N11
	TBIT \d, U15, CREDIT
	TBIT \d, CLASSIFY, MARKS
	TBIT \d, U15, N11
	TBIT \d, UNESCAPE, N11
	TBIT \d, U15, N11
	HALF \d, CHECK
	sbrc FLAGS, STOP
	rjmp 1f
	mov DATA, D
	NEXTLEVEL
	NOPS 4
	sbiw CNTL, 1
	rjmp \name\()_octet
1:	NOPS 9
	jmp tx_end
.endm

	TRANSMITTER 1, tx1
	TRANSMITTER 0, txn

	.section .text.light
; void light_send(void): a frame as the variables light_* describe it, header in
; light_header, body from the ring.
	.global light_send
light_send:
	ENTER
	U
	lds TAILL, ring_tail
	lds TAILH, ring_tail+1
	mov GIVEN, TAILL
	ldi T, 0xC0
	and GIVEN, T
	mov THR, GIVEN
	clr OPROV
	lds CRCL, light_crc
	lds CRCH, light_crc+1
	lds CNTL, light_left
	lds CNTH, light_left+1
	lds LIGHT, led_light
	lds IDLE, led_idle
	lds EXTRA, light_extra
	mov LEVEL, LIGHT	; EB begins with 1
	ldi DATA, (SYNC0 << 1) & 0xFF
	ldi T, lo8(light_header+1)
	mov r8, T
	ldi T, hi8(light_header+1)
	mov r9, T
	clr CAUSE
	clr FLAGS
	clr MISSING
	clr r11
	lds r30, TCNT1L
	lds r31, TCNT1H
	sts light_time, r30
	sts light_time+1, r31
	sts TCCR2A, ZERO
	tst EXTRA
	brne 1f
	jmp tx1
1:	jmp txn
tx_end:
	out PORT, IDLE
	lds T, led_timer
	sts TCCR2A, T
	U
	sts ring_tail, TAILL
	sts ring_tail+1, TAILH
	sts light_crc, CRCL
	sts light_crc+1, CRCH
	sts light_left, MISSING
	sts light_left+1, r11
	sts light_cause, CAUSE
	sts light_marks, OPROV
	mov OPROV, OHEAD
	in A, PIN
	sts hunt_level, A
	in A, _SFR_IO_ADDR(TCNT0)
	sts hunt_count, A
	lds r30, TCNT1L
	lds r31, TCNT1H
	sts hunt_last, r30
	sts hunt_last+1, r31
	LEAVE

; The UART while C runs: an octet into the ring, 50 cycles with entry and return
; of the 80 that one takes at 2 Mbaud. Nothing here touches the status register.
	.global USART_RX_vect
USART_RX_vect:
	push r24
	push r26
	push r27
	lds r26, ring_head
	lds r27, ring_head+1
	lds r24, UCSR0A
	sbrc r24, DOR0
	sts uart_overran, r24
	lds r24, UDR0
	st X+, r24
	sbrc r27, 3
	ldi r27, hi8(RING)
	sts ring_head, r26
	sts ring_head+1, r27
	pop r27
	pop r26
	pop r24
	reti

; It only ends sleep.
	.global PCINT2_vect
PCINT2_vect:
	reti
