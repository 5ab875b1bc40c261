#include "chip.h"

#include <avr/io.h>
#include <avr/wdt.h>
#include <util/atomic.h>

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

uint8_t board_kind(void) { return 1; }

uint16_t chip_ticks(void)
{
	uint16_t t;
	ATOMIC_BLOCK(ATOMIC_RESTORESTATE) { t = TCNT1; }
	return t;
}

/* Double speed: cycles per bit are 8*(UBRR+1). 115200 is 2.1 % fast, as on every 16 MHz Arduino. */
static void set_baud(uint32_t baud) { UBRR0 = baud == 115200 ? 16 : (uint16_t)(2000000 / baud - 1); }

void chip_baud(uint32_t baud)
{
	serial_out();
	for (uint32_t t = board_now(); board_now() - t < 400;) /* two octets at 115200 are 348 ticks */
		;
	set_baud(baud);
}

void chip_start(void)
{
	UCSR0A = 1 << U2X0;
	UCSR0B = 1 << RXCIE0 | 1 << RXEN0 | 1 << TXEN0;
	UCSR0C = 1 << UCSZ01 | 1 << UCSZ00;
	set_baud(115200);
	set_sleep_mode(SLEEP_MODE_IDLE);
	board_start();
}
