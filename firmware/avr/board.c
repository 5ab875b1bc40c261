#include "board.h"

#include <avr/io.h>
#include <avr/wdt.h>
#include <util/atomic.h>

#define BAUD_DEFAULT 115200u

struct ls_core core;
uint32_t clock_now;
static uint32_t last_alive;
static uint16_t alive_limit; /* ms until 115200 comes back; 0: it is here */

/* A reset by the watchdog leaves it running with its shortest time. */
void stop_watchdog(void) __attribute__((naked, used, section(".init3")));
void stop_watchdog(void)
{
	MCUSR = 0;
	wdt_disable();
}

void board_reset(void)
{
	wdt_enable(WDTO_15MS);
	for (;;)
		;
}

uint32_t board_now(void)
{
	uint16_t t;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { t = TCNT1; }
	clock_now += (uint16_t)(t - (uint16_t)clock_now);
	return clock_now;
}

uint8_t board_kind(void) { return 1; }

/* Double speed: cycles per bit are 8*(UBRR+1). 115200 is 2.1 % fast, as on every 16 MHz Arduino. */
static void set_baud(uint32_t baud) { UBRR0 = baud == BAUD_DEFAULT ? 16 : (uint16_t)(2000000 / baud - 1); }

static void wait_out(void)
{
	serial_out();
	for (uint32_t t = board_now(); board_now() - t < 400;) /* two octets at 115200 are 348 ticks */
		;
}

void board_baud(uint32_t baud)
{
	wait_out();
	set_baud(baud);
	core.alive = false; /* the question itself came at the old speed */
	last_alive = board_now();
	alive_limit = baud == BAUD_DEFAULT ? 0 : 500;
}

/* Not inlined: where it is called there is little stack. */
__attribute__((noinline)) void watch_baud(bool busy)
{
	uint32_t now = clock_now;
	if (core.alive || busy) {
		core.alive = false;
		last_alive = now;
		if (alive_limit != 0)
			alive_limit = 3000;
	}
	if (alive_limit != 0 && now - last_alive > alive_limit * (uint32_t)TICKS_MS) {
		alive_limit = 0;
		wait_out();
		set_baud(BAUD_DEFAULT);
	}
}

void board_start(void)
{
	UCSR0A = 1 << U2X0;
	UCSR0B = 1 << RXCIE0 | 1 << RXEN0 | 1 << TXEN0;
	UCSR0C = 1 << UCSZ01 | 1 << UCSZ00;
	set_baud(BAUD_DEFAULT);
	set_sleep_mode(SLEEP_MODE_IDLE);
	ls_init(&core);
	board_config(&core.config);
}
