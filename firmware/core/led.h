/* A board whose one LED both sends and hears, in portable C: what happens in each slot,
 * what discharge times mean (slots.h), how the host is served (core.h). Below it is a
 * chip with a clock, two pins and a serial line: the functions named chip_*.
 *
 *   chip                                        calls
 *   an octet came on the line                   ls_led_serial
 *   the tick ls_led.due: pins to ls_led.level   ls_led_event
 *   the junction was discharged (chip_acquire)  ls_led_captured
 *   whenever one of these has passed            ls_led_round
 *
 * The first three may interrupt ls_led_round, and not each other.
 *
 * A board keeps its slots in step with the last frame that it heard, so that the
 * light of those that listen falls where nobody measures. */
#ifndef LS_LED_H
#define LS_LED_H

#include "board.h"
#include "slots.h"

enum {
	LS_READING = 2 /* ticks that LS_MEASURED comes before its light: its capture is to be read first */
};

/* Sides of the LED: bits of what its pins are set to. Light: the anode alone. */
enum { LS_CATHODE = 1, LS_ANODE = 2 };

/* What the light of a board does next. */
struct ls_led {
	uint16_t due;          /* when, in ticks */
	uint8_t event;         /* LS_START to LS_FILLED */
	uint8_t level;         /* of the pins from then on, LS_ANODE or 0; not with LS_MEASURED, which sets them itself */
	volatile uint8_t mode; /* LS_LISTEN to LS_ACQUIRE */
};
enum { LS_START, LS_ON, LS_OFF, LS_MEASURED, LS_FILLED };
enum { LS_LISTEN, LS_SEND, LS_ACQUIRE };
extern struct ls_led ls_led;

void ls_led_start(void);
void ls_led_serial(uint8_t octet);
/* Sets ls_led to what comes next. In LS_ACQUIRE nothing comes before chip_resume. */
void ls_led_event(void);
/* The junction was discharged by the tick at. True: the board has seen enough. Else the chip
 * charges it anew and tells by ls_led_floats from which tick on it floats. */
bool ls_led_captured(uint16_t at);
void ls_led_floats(uint16_t at, uint16_t from);
/* It is known where the slots of others are, as far as it will be. */
void ls_led_acquired(void);
/* What is to be done outside interrupts. */
void ls_led_round(void);
/* Nothing is, until the chip calls again. */
bool ls_led_idle(void);
void ls_led_overran(void); /* the UART lost an octet */

/* What it needs of a chip. */
void chip_lit(void);                               /* at once */
void chip_measure(uint16_t from);                  /* charges the junction, and lets it float from that tick on */
bool chip_measured(uint16_t *fell, bool light);    /* was it discharged, and at which tick? And lights the LED, or makes it dark */
void chip_acquire(uint16_t limit);                 /* from now on ls_led_captured, and at that tick, or when it wants no more, ls_led_acquired */
void chip_resume(void);                            /* ls_led is new: its event comes at its tick */

#endif
