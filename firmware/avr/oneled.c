/* The ATmega328P at 16 MHz as the chip of a board whose one LED both sends and hears (../core/led.h).
 *
 *   D0, D1  serial line to the host
 *   D8 (PB0, ICP1)  the LED's cathode
 *   D9 (PB1)        the LED's anode, through the resistor
 *
 * Timer 1 is the clock, and everything that light needs happens at its ticks: its
 * compare interrupt comes a little early and waits for the exact one, by timer 2 to the
 * cycle: a cycle of a slot's light is a thousandth of it, and what idle light and frames
 * have more than that to tell them apart is flicker. A receiver
 * charges the junction in reverse and lets it float; timer 1 captures when the
 * cathode has fallen low. Interrupts put discharge times into a ring, and take kinds
 * of slot from another; what they mean is the main loop's business,
 * which has 200 µs for each. */
#include "chip.h"
#include "../core/led.h"

#include <avr/io.h>
#include <util/atomic.h>

enum {
	CATHODE = LS_CATHODE << PB0,
	ANODE = LS_ANODE << PB0,
	LEAD = 16 /* ticks that the compare interrupt comes early */
};

/* ---------------------------------------------------------------- serial line */

static uint8_t out[256];
static volatile uint8_t out_head, out_tail;

ISR(USART_RX_vect)
{
	if ((UCSR0A & 1 << DOR0) != 0)
		ls_led_overran();
	ls_led_serial(UDR0);
}

ISR(USART_UDRE_vect)
{
	uint8_t tail = out_tail;
	if (tail == out_head) {
		UCSR0B &= (uint8_t)~(1 << UDRIE0);
		return;
	}
	UDR0 = out[tail];
	out_tail = tail + 1;
}

void board_out(uint8_t octet)
{
	uint8_t head = out_head;
	while ((uint8_t)(head + 1) == out_tail)
		;
	out[head] = octet;
	out_head = head + 1;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { UCSR0B |= 1 << UDRIE0; }
}

void serial_out(void)
{
	while (out_tail != out_head)
		;
}

/* ---------------------------------------------------------------------- light */

static uint8_t latest; /* TCNT2 after poll, at most, less a multiple of 8 */

/* Returns TCNT2, timer 2 counting cycles, 3 to 7 cycles after the tick, which is at most 63 µs away. */
static inline uint8_t poll(uint8_t tick)
{
	uint8_t passed;
	__asm__ volatile("1:\tlds %0, %2\n\t"
	                 "sub %0, %1\n\t"
	                 "brmi 1b"
	                 : "=&r"(passed)
	                 : "r"(tick), "n"(_SFR_MEM_ADDR(TCNT1L)));
	return TCNT2;
}

/* Returns at the same cycle of a tick each time. */
static inline void wait_for(uint16_t tick)
{
	uint8_t n = latest - poll((uint8_t)tick - 2);
	/* n modulo 8 cycles: a branch to what follows takes 2, lpm 3, and one that is skipped 1 */
	__asm__ volatile("sbrc %0, 0\n\t"
	                 "rjmp .+0\n\t"
	                 "sbrc %0, 1\n\t"
	                 "lpm\n\t"
	                 "sbrc %0, 2\n\t"
	                 "lpm\n\t"
	                 "sbrc %0, 2\n\t"
	                 "lpm"
	                 :
	                 : "r"(n)
	                 : "r0");
}

/* Timers 1 and 2 count from different cycles on. poll looks each 5 cycles, so it ends at
 * 5 cycles of 8, which this finds. */
static void find_phase(void)
{
	uint8_t seen = 0;
	TCCR2B = 1 << CS20;
	for (uint8_t i = 0; i < 64; i++) {
		for (uint8_t wait = i & 7; wait != 0; wait--)
			__asm__ volatile("");
		seen |= (uint8_t)(1 << (poll(TCNT1L + 4) & 7));
	}
	while ((seen & 1 << (latest & 7)) == 0 || (seen & 1 << ((latest + 1) & 7)) != 0)
		latest++;
}

/* simavr takes a compare register of 0 for one that is not used. */
static inline uint16_t not_zero(uint16_t tick) { return tick == 0 ? 1 : tick; }

static inline void dark(void)
{
	PORTB &= (uint8_t)~(ANODE | CATHODE);
	DDRB |= ANODE | CATHODE;
}

void chip_lit(void) { PORTB |= ANODE; }

/* Charges the junction and lets it float: the discharge begins with the return. */
static inline void charge(void)
{
	PORTB = CATHODE;
	DDRB = ANODE | CATHODE;
}

static inline void let_float(void)
{
	DDRB = ANODE;
	PORTB = 0;
	TIFR1 = 1 << ICF1;
}

void chip_measure(uint16_t from)
{
	charge();
	wait_for(from); /* it has to be reached in time: 48 cycles */
	let_float();
}

/* The pin falls when it is made dark: its capture is read first. That takes 16 cycles,
 * and idle light has to be as long as a frame's: so this is called LS_READING early. */
bool chip_measured(uint16_t *fell, bool light)
{
	uint8_t flags = TIFR1;
	*fell = ICR1;
	dark();
	if (light) {
		__builtin_avr_delay_cycles(4);
		chip_lit();
	}
	return (flags & 1 << ICF1) != 0;
}

void chip_acquire(uint16_t limit)
{
	OCR1B = not_zero(limit);
	TIFR1 = 1 << OCF1B;
	TIMSK1 = 1 << OCIE1B | 1 << ICIE1;
}

void chip_resume(void)
{
	OCR1A = not_zero(ls_led.due - LEAD);
	TIFR1 = 1 << OCF1A;
	TIMSK1 = 1 << OCIE1A;
}

ISR(TIMER1_COMPA_vect)
{
	for (;;) {
		wait_for(ls_led.due);
		if (ls_led.event != LS_MEASURED)
			PORTB = ls_led.level;
		ls_led_event();
		if (ls_led.mode == LS_ACQUIRE)
			return;
		uint16_t early = ls_led.due - LEAD;
		if ((int16_t)(early - TCNT1) > 4) {
			OCR1A = not_zero(early);
			TIFR1 = 1 << OCF1A;
			return;
		}
	}
}

static void end_acquisition(void)
{
	TIMSK1 = 0;
	dark();
	ls_led_acquired();
}

/* It has become too dark to end by itself. */
ISR(TIMER1_COMPB_vect) { end_acquisition(); }

ISR(TIMER1_CAPT_vect)
{
	uint16_t at = ICR1;
	charge();
	if (ls_led_captured(at)) {
		end_acquisition();
		return;
	}
	uint16_t from = at + 3 + 8; /* the capture, this interrupt, and the charge */
	if ((int16_t)(TCNT1 + 3 - from) > 0)
		from = TCNT1 + 3;
	/* The tick is enough here; what wait_for takes before would be more charging, and fewer samples. */
	while ((int16_t)(TCNT1 - from) < 0)
		;
	let_float();
	ls_led_floats(at, from);
}

static void sleep_until_something(void)
{
	cli();
	if (ls_led_idle())
		doze();
	sei();
}

int main(void) __attribute__((OS_main));
int main(void)
{
	DDRB = CATHODE | ANODE;
	TCCR1B = 1 << CS11; /* clock / 8; capture at the falling edge */
	chip_start();
	find_phase();
	ls_led_start();
	chip_resume();
	sei();

	for (;;) {
		ls_led_round();
		sleep_until_something();
	}
}
