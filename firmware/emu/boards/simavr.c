/* A board's chip as a simavr ATmega328P that runs the real image, cycle by cycle. One that
 * sleeps costs nothing until its next timer, which light may bring forward. simavr's own UART
 * answers at once and hides overruns: its registers are taken over by a model that moves every
 * octet at its cycle. */
#include "rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <simavr/avr_ioport.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_cycle_timers.h>
#include <simavr/sim_hex.h>
#include <simavr/sim_interrupts.h>
#include <simavr/sim_io.h>

enum { STEP = 32, RX_VECTOR = 18, UDRE_VECTOR = 19 };
enum { UCSR0A = 0xC0, UCSR0B = 0xC1, UBRR0L = 0xC4, UBRR0H = 0xC5, UDR0 = 0xC6 };
enum { TCCR2A = 0xB0, COM2A = 0xC0 };
enum { RXC = 0x80, TXC = 0x40, UDRE = 0x20, FE = 0x10, DOR = 0x08, U2X = 0x02, RXCIE = 0x80, UDRIE = 0x20 };

struct mcu {
	avr_t *avr;
	struct timed {
		struct board *board;
		enum timer timer;
	} timers[TIMERS];
	bool has_boot;
	void (*reset)(struct avr_t *);

	avr_int_vector_t *rx_vector, *udre_vector;
	uint8_t fifo[2], fifo_bad[2], held, held_bad;
	int fifo_used;
	bool holding;
	double held_until;
	bool dor;
	uint8_t ucsra, buffer;
	bool buffered, tx_done;
};

static struct board *board_of[MAX_BOARDS];

uint64_t mcu_cycle(const struct board *b) { return b->mcu->avr->cycle; }

/* A core that sleeps wakes a cycle behind its next timer, as in simavr's own loop. */
static avr_cycle_count_t wakes(const avr_t *avr)
{
	avr_cycle_count_t when = avr->cycle_timers.timer ? avr->cycle_timers.timer->when : 0;
	return (when > avr->cycle ? when : avr->cycle) + 1;
}

void mcu_plan(struct board *b)
{
	avr_t *avr = b->mcu->avr;
	b->due = (double)(avr->state == cpu_Sleeping ? wakes(avr) : avr->cycle) * b->cycle_ns;
}

static avr_cycle_count_t timer_came(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	const struct timed *t = param;
	return rig_timer(t->board, t->timer);
}

void mcu_timer(struct board *b, enum timer timer, uint64_t cycle)
{
	avr_t *avr = b->mcu->avr;
	if (cycle == 0)
		avr_cycle_timer_cancel(avr, timer_came, &b->mcu->timers[timer]);
	else
		avr_cycle_timer_register(avr, cycle - avr->cycle, timer_came, &b->mcu->timers[timer]);
}

/* ------------------------------------------------------------- serial line */

double mcu_bit_ns(const struct board *b)
{
	const uint8_t *data = b->mcu->avr->data;
	int ubrr = data[UBRR0L] | (data[UBRR0H] & 0x0F) << 8;
	return (b->mcu->ucsra & U2X ? 8 : 16) * (ubrr + 1) * b->cycle_ns;
}

/* simavr queues an interrupt anew each time it is raised after it was cleared, and
 * its queue is short: a UART that is polled for long while interrupts are off would
 * push out others, which then never come again. */
static void raise_uart(struct board *b, avr_int_vector_t *vector)
{
	avr_int_pending_t *queue = &b->mcu->avr->interrupts.pending;
	for (int i = queue->read; i != queue->write; i = (i + 1) % avr_int_pending_fifo_size)
		if (queue->buffer[i] == vector) {
			vector->pending = 1;
			if (b->mcu->avr->sreg[S_I] && b->mcu->avr->interrupt_state == 0)
				b->mcu->avr->interrupt_state = 1;
			if (b->mcu->avr->state == cpu_Sleeping)
				b->mcu->avr->state = cpu_Running;
			return;
		}
	avr_raise_interrupt(b->mcu->avr, vector);
}

static void rx_interrupt(struct board *b)
{
	if (b->mcu->fifo_used && b->mcu->avr->data[UCSR0B] & RXCIE)
		raise_uart(b, b->mcu->rx_vector);
	else if (!b->mcu->fifo_used)
		avr_clear_interrupt(b->mcu->avr, b->mcu->rx_vector);
}

/* Raised as long as there is room; simavr clears it when it is served. */
static void udre_interrupt(struct board *b)
{
	if (!b->mcu->buffered && b->mcu->avr->data[UCSR0B] & UDRIE)
		raise_uart(b, b->mcu->udre_vector);
	else
		avr_clear_interrupt(b->mcu->avr, b->mcu->udre_vector);
}

void mcu_octet(struct board *b, uint8_t v, bool bad)
{
	struct mcu *m = b->mcu;
	if (m->holding || m->held_until > b->arrival_start) {
		b->overruns++; /* the shift register was still full when this octet's start bit came */
		m->dor = true;
	} else if (m->fifo_used < 2) {
		m->fifo_bad[m->fifo_used] = bad;
		m->fifo[m->fifo_used++] = v;
	} else {
		m->holding = true;
		m->held = v;
		m->held_bad = bad;
	}
	rx_interrupt(b);
}

void mcu_sent(struct board *b)
{
	if (b->mcu->buffered) {
		b->mcu->buffered = false;
		rig_send(b, b->mcu->buffer);
	} else {
		b->mcu->tx_done = true;
	}
	udre_interrupt(b);
}

static uint8_t read_status(avr_t *avr, avr_io_addr_t addr, void *param)
{
	struct board *b = param;
	uint8_t v = (b->mcu->ucsra & U2X) | (b->mcu->fifo_used ? RXC : 0) | (b->mcu->buffered ? 0 : UDRE) | (b->mcu->tx_done ? TXC : 0) |
		(b->mcu->dor ? DOR : 0) | (b->mcu->fifo_used && b->mcu->fifo_bad[0] ? FE : 0);
	avr->data[addr] = v;
	return v;
}

static void write_status(avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param)
{
	struct board *b = param;
	b->mcu->ucsra = v & U2X;
	if (v & TXC)
		b->mcu->tx_done = false;
	avr->data[addr] = v;
}

static void write_control(avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param)
{
	avr->data[addr] = v;
	rx_interrupt(param);
	udre_interrupt(param);
}

static uint8_t read_data(avr_t *avr, avr_io_addr_t addr, void *param)
{
	struct board *b = param;
	uint8_t v = b->mcu->fifo[0];
	if (b->mcu->fifo_used) {
		b->mcu->fifo[0] = b->mcu->fifo[1];
		b->mcu->fifo_bad[0] = b->mcu->fifo_bad[1];
		b->mcu->fifo_used--;
		b->mcu->dor = false;
	}
	if (b->mcu->holding) {
		b->mcu->holding = false;
		b->mcu->held_until = time_of(b);
		b->mcu->fifo_bad[b->mcu->fifo_used] = b->mcu->held_bad;
		b->mcu->fifo[b->mcu->fifo_used++] = b->mcu->held;
	}
	rx_interrupt(b);
	avr->data[addr] = v;
	return v;
}

static void write_data(avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param)
{
	struct board *b = param;
	avr->data[addr] = v;
	if (!b->shifting) {
		rig_send(b, v);
		udre_interrupt(b);
		return;
	}
	if (b->mcu->buffered)
		b->overwritten++;
	b->mcu->buffered = true;
	b->mcu->buffer = v;
	udre_interrupt(b);
}

static void take_over_uart(struct board *b)
{
	avr_t *avr = b->mcu->avr;
	struct { avr_io_addr_t addr; avr_io_read_t r; avr_io_write_t w; } regs[] = {
		{UCSR0A, read_status, write_status},
		{UCSR0B, NULL, write_control},
		{UDR0, read_data, write_data},
		{UBRR0L, NULL, NULL},
		{UBRR0H, NULL, NULL},
	};
	for (size_t i = 0; i < sizeof regs / sizeof *regs; i++) {
		avr_io_addr_t io = AVR_DATA_TO_IO(regs[i].addr);
		avr->io[io].r.c = regs[i].r;
		avr->io[io].r.param = b;
		avr->io[io].w.c = regs[i].w;
		avr->io[io].w.param = b;
	}
	for (int i = 0; i < avr->interrupts.vector_count; i++)
		if (avr->interrupts.vector[i]->vector == RX_VECTOR)
			b->mcu->rx_vector = avr->interrupts.vector[i];
		else if (avr->interrupts.vector[i]->vector == UDRE_VECTOR)
			b->mcu->udre_vector = avr->interrupts.vector[i];
	if (!b->mcu->rx_vector || !b->mcu->udre_vector)
		die("simavr knows no UART interrupt");
}

/* ------------------------------------------------------------------- light */

void mcu_line(struct board *b, bool light)
{
	avr_raise_irq(avr_io_getirq(b->mcu->avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 4), light);
}

void mcu_discharged(struct board *b)
{
	avr_raise_irq(avr_io_getirq(b->mcu->avr, AVR_IOCTL_IOPORT_GETIRQ('B'), 0), 0);
}

/* simavr moves that pin between instructions only, of which some take longer than a cycle. */
bool mcu_blinks(const struct board *b) { return b->mcu->avr->data[TCCR2A] & COM2A; }

static void led_changed(struct avr_irq_t *irq, uint32_t value, void *param)
{
	struct board *b = param;
	if (irq->irq == IOPORT_IRQ_REG_PORT)
		rig_led(b, (uint8_t)value, b->ddr);
	else
		rig_led(b, b->port, (uint8_t)value);
}

static void pin_changed(struct avr_irq_t *irq, uint32_t value, void *param)
{
	rig_pin(param, (uint8_t)(1 << (irq->irq - 3)), value & 1);
}

/* -------------------------------------------------------------------- time */

/* simavr takes a core that sleeps to its next timer at once, past light that others have yet
 * to send. So it is kept where it is until all others have come that far. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles) { avr->cycle -= 1 + cycles; }

void mcu_pass(struct board *b, uint64_t cycle)
{
	avr_t *avr = b->mcu->avr;
	if (avr->state != cpu_Sleeping || cycle <= avr->cycle)
		return;
	b->asleep += cycle - avr->cycle;
	avr->cycle = cycle;
}

/* What simavr does not know of and must not survive a reset: it has dropped all
 * timers. */
static void after_reset(avr_t *avr)
{
	int i = 0;
	while (board_of[i]->mcu->avr != avr)
		i++;
	struct mcu *m = board_of[i]->mcu;
	if (m->reset)
		m->reset(avr);
	m->fifo_used = 0;
	m->holding = m->dor = m->buffered = m->tx_done = false;
	m->held_until = 0;
	m->ucsra = 0;
	rig_reset(board_of[i]);
}

void mcu_press_reset(struct board *b)
{
	avr_t *avr = b->mcu->avr;
	avr_cycle_count_t now = avr->cycle;
	avr_reset(avr);
	avr->cycle = now;
	avr->state = cpu_Running;
	avr->pc = avr->reset_pc;
	avr_regbit_set(avr, avr->reset_flags.extrf);
	mcu_line(b, b->line != b->glitch);
}

void mcu_run(struct board *b)
{
	avr_t *avr = b->mcu->avr;
	mcu_pass(b, wakes(avr));
	int state = avr_run(avr);
	bool stopped = state == cpu_Done || state == cpu_Crashed;
	if (stopped && b->mcu->has_boot)
		mcu_press_reset(b); /* there is no program yet: it ran into empty flash */
	else if (stopped)
		die("board %d stopped at %#x after %.0f ns", b->number, avr->pc, time_of(b));
	mcu_plan(b);
	uint32_t sp = avr->data[R_SPL] | avr->data[R_SPH] << 8;
	if (sp < b->stack && sp != 0)
		b->stack = sp;
}

static uint32_t load(avr_t *avr, const char *hex)
{
	ihex_chunk_p chunks = NULL;
	int n = read_ihex_chunks(hex, &chunks);
	if (n <= 0)
		die("%s: no image", hex);
	uint32_t start = chunks[0].baseaddr;
	for (int i = 0; i < n; i++)
		memcpy(avr->flash + chunks[i].baseaddr, chunks[i].data, chunks[i].size);
	free_ihex_chunks(chunks);
	return start;
}

void mcu_start(struct board *b, const char *image, const char *boot)
{
	struct mcu *m = b->mcu = calloc(1, sizeof *m);
	avr_t *avr = avr_make_mcu_by_name("atmega328p");
	if (!m || !avr)
		die("simavr knows no ATmega328P");
	m->avr = avr;
	board_of[b->number] = b;
	for (int i = 0; i < TIMERS; i++)
		m->timers[i] = (struct timed){b, i};
	avr_init(avr);
	avr->frequency = 16000000;
	avr->log = LOG_ERROR;
	avr->sleep = no_sleep;
	avr->run_cycle_limit = STEP;
	memset(avr->flash, 0xFF, avr->flashend + 1);
	if (image)
		load(avr, image);
	if (boot) {
		m->has_boot = true;
		avr->reset_pc = avr->pc = load(avr, boot);
		avr_regbit_set(avr, avr->reset_flags.extrf);
	}
	m->reset = avr->reset;
	avr->reset = after_reset;
	avr->codeend = avr->flashend;
	b->stack = avr->ramend;
	take_over_uart(b);
	if (led) {
		avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), IOPORT_IRQ_REG_PORT), led_changed, b);
		avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), IOPORT_IRQ_DIRECTION_ALL), led_changed, b);
		return;
	}
	for (int pin = 3; pin <= 4; pin++)
		avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), pin), pin_changed, b);
	mcu_line(b, false);
}
