/* The ATmega328P at 16 MHz (Arduino Uno, Nano) as a board.
 *
 *   D0, D1   serial line to the host
 *   D4 (PD4) comparator's output: high is light; it also clocks timer 0, which counts edges
 *   D11, D12 (PB3, PB4) the LED through two equal resistors: none, one or both make dark, half, light
 *   A0       photodiode amplifier, for the mean level
 *
 * Timer 1 is the clock, timer 2 blinks D11 at 4 MHz for dimmed idle light.
 *
 * The main loop hunts for light frames (light_hunt, which serves the UART
 * meanwhile) and, whenever the line is quiet, takes what the host wrote out of
 * the ring. While C runs an interrupt fills the ring; while a loop of loops.S
 * runs none does. */
#include "chip.h"
#include "../core/light.h"
#include "loops.h"

#include <avr/io.h>
#include <util/atomic.h>

#define PINS (1 << PB3 | 1 << PB4)

/* 74 octets are left for the stack, and the loops of loops.S save 20: what calls
 * them is laid out in main, which saves nothing; what is deep by itself is not. */
#define FLAT static inline __attribute__((always_inline))
#define DEEP static __attribute__((noinline))

volatile uint16_t ring_head = RING;
uint16_t ring_tail = RING;
uint8_t out_head, out_tail, out_prov;
volatile uint8_t uart_overran;

uint16_t hunt_last, hunt_run;
uint8_t hunt_level, hunt_count, hunt_tries, hunt_mask;

uint8_t light_mode, light_rate, light_octet, light_cause, light_marks, light_extra, light_length;
uint8_t light_header[LS_HEADER];
uint16_t light_crc, light_left, light_viol, light_time, light_false;
uint8_t led_light, led_idle, led_timer;

static uint32_t last_light;           /* end of the last frame, own or heard */
static uint32_t last_edge, busy_since;
static uint16_t pause;                /* ticks without an edge after which the carrier is gone */
static uint8_t edges_seen, edges_run; /* timer 0 at the last look; edges since the last pause */
static bool busy;

/* Twice a round of the clock sleep ends, so that no round is missed. */
ISR(TIMER1_OVF_vect, ISR_NAKED) { reti(); }
ISR(TIMER1_COMPA_vect, ISR_NAKED) { reti(); }

/* Sets the clock to the end of a loop, which left timer 1 in hunt_last and took
 * about this long since the last reading (to ±16 ms). */
static void clock_after(uint32_t ticks)
{
	clock_now += ticks;
	clock_now += (uint32_t)(int32_t)(int16_t)(hunt_last - (uint16_t)clock_now);
}

static void drain(void)
{
	if (out_tail != out_head && (UCSR0A & 1 << UDRE0) != 0)
		UDR0 = *(volatile uint8_t *)(OUT + out_tail++);
}

void board_out(uint8_t octet)
{
	while ((uint8_t)(out_head + 1) == out_tail)
		drain();
	*(volatile uint8_t *)(OUT + out_head++) = octet; /* light_hunt sends it on */
}

uint16_t board_features(void) { return 0x0F; }
uint8_t board_speeds(void) { return 0x1F; }

static void empty_ring(void)
{
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
	{
		ring_head = RING;
		ring_tail = RING;
	}
}

void serial_out(void)
{
	while (out_tail != out_head)
		drain();
}

void board_config(const struct ls_config *c)
{
	uint8_t slowest = 0;
	hunt_mask = c->rates;
	for (uint8_t rates = c->rates >> 1; rates != 0; rates >>= 1)
		slowest++;
	pause = 20u * ls_light_divider(slowest);
	led_light = c->dim == 1 ? 1 << PB3 : PINS;
	led_idle = c->dim == 2 ? 1 << PB3 : 0;
	led_timer = c->dim == 1 ? 1 << COM2A0 | 1 << WGM21 : 0;
	PORTB = led_idle;
	TCCR2A = led_timer;
}

bool board_busy(uint32_t *since)
{
	*since = busy_since;
	return busy;
}

void board_test(uint8_t mode) { light_mode = mode == 2 ? LIGHT_PRBS : 0; }

static uint16_t ring_fill(void)
{
	uint16_t head;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { head = ring_head; }
	return head >= ring_tail ? head - ring_tail : head + RING_SIZE - ring_tail;
}

static uint8_t ring_take(void)
{
	uint8_t octet = *(volatile uint8_t *)ring_tail;
	if (++ring_tail == RING + RING_SIZE)
		ring_tail = RING;
	return octet;
}

DEEP void look_for_carrier(void)
{
	uint8_t count = TCNT0, fresh = count - edges_seen;
	uint32_t now = clock_now;
	bool was = busy;
	edges_seen = count;
	if (fresh != 0) {
		edges_run = edges_run > 200 ? 200 : edges_run + (fresh > 50 ? 50 : fresh);
		last_edge = now;
	} else if (now - last_edge > pause) {
		edges_run = 0;
	}
	busy = edges_run >= 4;
	if (busy != was) {
		busy_since = now;
		if ((core.config.options & 1) != 0) {
			ls_begin(LS_SENSE | LS_ANSWER);
			ls_u8(busy);
			ls_u32(now);
			ls_end();
		}
	}
}

/* Between out_head and out_prov lies a frame that stays here: opening flag, type,
 * header, body without its last octet, with escapes. */
DEEP void compare_prbs(void)
{
	uint8_t at = out_head + 1, reg = 0x7F, skip = 1 + LS_HEADER, flip = 0;
	uint16_t bits = 0, wrong = 0;
	for (bool last = false; !last;) {
		uint8_t octet;
		if (at == out_prov) {
			octet = light_octet;
			last = true;
		} else {
			octet = *(volatile uint8_t *)(OUT + at++) ^ flip;
			if (flip == 0 && octet == LS_ESCAPE) {
				flip = 0x20;
				continue;
			}
			flip = 0;
		}
		if (skip != 0) {
			skip--;
			continue;
		}
		bits += 8;
		for (octet ^= ls_prbs(&reg); octet != 0; octet &= octet - 1)
			wrong++;
	}
	ls_tested(&core, bits, wrong);
}

/* A frame was heard. Its last octet is not with the host yet; if the buffer ran
 * full there is no such octet. */
DEEP void heard(bool full)
{
	uint8_t d = ls_light_divider(light_rate), edges = TCNT0 - OCR0A;
	uint16_t octets = (light_length | (uint16_t)EEARL << 8) - light_left;
	uint32_t start;
	/* The loop read the clock 66 bits and a quarter after the reference edge. A bit is 4*d ticks. */
	clock_now += (uint16_t)(light_time - (uint16_t)clock_now);
	start = clock_now - 265u * d;
	clock_after((uint32_t)octets * (32u * d) - 8u * d);
	clock_now -= d + 4; /* the loop looks on for half a chip, and leaves within 30 cycles */
	last_light = clock_now;
	core.stats.rx_frames++;
	core.stats.rx_octets += octets;
	core.stats.violations += light_viol;
	if (full)
		core.stats.truncated++;
	if ((light_mode & LIGHT_PRBS) != 0) {
		if (!full)
			compare_prbs();
		return;
	}
	ls_resume(light_crc);
	if (!full)
		ls_u8(light_octet);
	ls_u8(full);
	ls_u8(light_rate);
	ls_u16(light_viol);
	ls_u8(edges);
	ls_u8(ADCH);
	ls_u32(start);
	ls_u32(last_light);
	ls_end();
}

FLAT void send(uint8_t rate, uint16_t length)
{
	uint8_t d = ls_light_divider(rate);
	ls_light_header(light_header, length);
	light_left = length;
	light_extra = d - 1;
	light_send();
	clock_now += (uint16_t)(light_time - (uint16_t)clock_now);
	core.sent_start = clock_now;
	clock_after((length + 12u) * (32ul * d));
	last_light = clock_now;
	edges_seen = TCNT0;
	hunt_last -= 200; /* what we sent need not be waited out */
}

/* The host's frame, when its time has come. */
FLAT bool try_to_send(uint32_t since)
{
	uint32_t now = clock_now;
	uint16_t need = core.tx.start < core.tx.length ? core.tx.start : core.tx.length;
	uint16_t before = ring_tail;
	uint8_t status = LS_SENT;
	if (now - last_light < 2u * core.config.gap)
		return false;
	/* More than this a host may not have the credit for before we take some. */
	if (need > LS_WINDOW - 2 * LS_UNIT)
		need = LS_WINDOW - 2 * LS_UNIT;
	if (ring_fill() < need) {
		if (now - since < 100ul * TICKS_MS)
			return false;
		status = LS_LATE;
	} else if (core.tx.patience != 0 && (busy || (edges_run != 0 && now - last_edge < 2u * core.config.gap))) {
		if (now - since < core.tx.patience * (uint32_t)TICKS_MS)
			return false;
		core.stats.deferred++;
		status = LS_CARRIER;
	}
	if (status != LS_SENT) {
		ls_sent(&core, status, now, 0, 0);
		return true;
	}
	light_crc = core.crc;
	send(core.tx.rate, core.tx.length);
	core.crc = light_crc;
	ls_taken(&core, light_marks * LS_UNIT + (ring_tail % LS_UNIT) - (before % LS_UNIT));
	ls_sent(&core, light_left != 0 ? LS_DRY : LS_SENT, core.sent_start, light_left, light_left != 0 && light_cause != 0 ? light_cause + LS_MARK : 0);
	return true;
}

/* A test frame goes through the ring as if the host had written it. */
FLAT void send_prbs(void)
{
	uint8_t reg = 0x7F;
	if (clock_now - last_light < 2u * core.config.gap)
		return;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
	{
		ring_head = ring_tail;
		for (uint8_t i = 0; i < core.test.length; i++) {
			uint8_t octet = ls_prbs(&reg), pair = octet >= LS_MARK && octet <= LS_FLAG;
			for (uint8_t half = 0; half <= pair; half++) {
				*(volatile uint8_t *)ring_head = half < pair ? LS_ESCAPE : pair ? octet ^ 0x20 : octet;
				if (++ring_head == RING + RING_SIZE)
					ring_head = RING;
			}
		}
	}
	send(core.test.rate, core.test.length);
	ls_tested(&core, core.test.length * 8u, 0);
}

static void sleep_until_something(void)
{
	cli();
	if (ring_head == ring_tail && out_head == out_tail)
		doze();
	sei();
}

int main(void) __attribute__((OS_main));
int main(void)
{
	bool pending = false;
	uint32_t since = 0;

	DDRB = PINS;
	TCCR0B = 1 << CS02 | 1 << CS01 | 1 << CS00; /* rising edges of T0 */
	TCCR1B = 1 << CS11;                         /* clock / 8 */
	OCR1A = 0x8000;
	TIMSK1 = 1 << TOIE1 | 1 << OCIE1A;
	OCR2A = 1; /* toggles each second cycle */
	TCCR2B = 1 << CS20;
	PCMSK2 = 1 << PCINT20;
	PCICR = 1 << PCIE2;
	ADMUX = 1 << REFS0 | 1 << ADLAR;
	ADCSRA = 1 << ADEN | 1 << ADSC | 1 << ADATE | 7;
	chip_start();
	sei();

	for (;;) {
		uint8_t found = light_hunt();
		if (found != LIGHT_QUIET)
			heard(found == LIGHT_FULL);
		board_now();
		look_for_carrier();
		core.stats.false_starts += light_false;
		light_false = 0;
		if (uart_overran != 0) {
			uart_overran = 0;
			core.stats.overruns++;
		}
		if (pending)
			pending = !try_to_send(since);
		/* Light is not heard meanwhile: stop at the first edge, unless the hunt gave
		 * up among edges that are none of a frame. */
		bool noise = found == LIGHT_QUIET && (uint16_t)((uint16_t)clock_now - hunt_last) < 140;
		for (uint16_t n = ring_fill(); n != 0 && !pending && (noise || TCNT0 == edges_seen); n--) {
			if (ls_octet(&core, ring_take())) {
				since = board_now();
				look_for_carrier();
				pending = !try_to_send(since);
				n = ring_fill() + 1;
			}
			if (core.hello) {
				core.hello = false;
				empty_ring();
				break;
			}
		}
		if (!pending && core.test.mode == 1)
			send_prbs();
		watch_baud(false);
		if (!pending && core.test.mode != 1 && !busy)
			sleep_until_something();
	}
}
