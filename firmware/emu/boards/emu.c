/* Boards that run the real image, joined by light.
 *
 * Each board is a simavr ATmega328P. The one that is behind in time runs next,
 * at most 32 cycles at once; light takes 2.5 µs from board to board, longer than
 * they ever are apart, so that no edge comes too late. One that sleeps costs nothing
 * until its next timer, which light may bring forward. simavr's own UART answers
 * at once and hides overruns: its registers are taken over by a model that moves
 * every octet at its cycle.
 *
 *   emu hex=FILE [boards=2] [ppm=0,0,...] [jitter=NS] [distortion=NS] [usb=US] [seed=N] [trace=FILE] [pty=1 [clock=FILE] [boot=FILE]]
 *       [led=1 [dark=NS] [bright=NS] [noise=SHARE] [ripple=SHARE]]
 *
 * ppm: each board's clock against true time. jitter: rms of each edge at the
 * receiver where the light has full strength; it grows as the light weakens,
 * being noise over slew rate. distortion: by how much a light pulse is longer
 * than it was sent. usb: the host's end of each serial line is served at this
 * interval, as by a full-speed USB adapter.
 *
 * With led=1 the board's LED both sends and hears, cathode at B0, anode at B1: charged in
 * reverse it is discharged by light, in dark ns by the room's alone and in bright ns with
 * one neighbour's steady light more (gain 1). noise: rms of each discharge against its
 * length. ripple: amplitude of the room's light at 100 Hz against its mean.
 *
 * Without pty=1 the host's end is the caller, in simulated time: see serve().
 * With it each board is a terminal, named on standard output, and time runs no
 * faster than the clock on the wall. Where the machine is too slow for that, it runs
 * slower: clock tells, as text, how many ns have passed for the boards.
 *
 * With boot the boards have that boot loader and, unless there is hex, nothing else.
 * As on an Arduino, a program that opens the serial line thereby resets the board. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_ioport.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_cycle_timers.h>
#include <simavr/sim_hex.h>
#include <simavr/sim_interrupts.h>
#include <simavr/sim_io.h>

enum { MAX_BOARDS = 16, STEP = 32, RX_VECTOR = 18, UDRE_VECTOR = 19, FLIGHT_NS = 2500, GLITCH_NS = 1000, PENDING = 64, LATE_NS = 20000000 };
enum { UCSR0A = 0xC0, UCSR0B = 0xC1, UBRR0L = 0xC4, UBRR0H = 0xC5, UDR0 = 0xC6 };
enum { TCCR2A = 0xB0, COM2A = 0xC0 };
enum { RXC = 0x80, TXC = 0x40, UDRE = 0x20, FE = 0x10, DOR = 0x08, U2X = 0x02, RXCIE = 0x80, UDRIE = 0x20 };

/* The slicer: a comparator against the light's own mean over 50 µs, with hysteresis. */
static const double slicer_tau_ns = 50e3, slicer_hysteresis = 0.1;

struct octets {
	uint8_t *at;
	size_t from, to, room;
};

struct edge {
	double at;
	bool light;
};

struct board {
	int number;
	avr_t *avr;
	double cycle_ns;

	/* serial line */
	avr_int_vector_t *rx_vector, *udre_vector;
	uint8_t fifo[2], fifo_bad[2], held, held_bad;
	int fifo_used;
	bool holding;
	double held_until;
	bool dor;
	uint8_t ucsra, shift, buffer;
	bool shifting, buffered, tx_done;
	struct octets to_board, to_host, from_host; /* from_host: beyond the USB adapter, not yet on the line */
	double line_free, host_bit_ns;              /* when the line to the board is free */
	bool arriving;
	double arrival_start;
	uint32_t overruns, overwritten, misread;

	/* light */
	uint8_t pins;
	bool pins_changed;
	double pins_at, level;
	double eye, eye_since, eye_sum, eye_started; /* the level that is told: blinking at 4 MHz is its mean */
	uint64_t last_change, anchor;
	uint64_t edges, late_edges;
	double received, mean, mean_at;
	bool slicer, line;
	struct edge pending[PENDING];
	int pending_from, pending_used;
	double chatter_ns, glitch_ns; /* glitch_ns: mean time between glitches, 0 for none */
	bool glitch, glitching;       /* inverted now; the timer runs */
	uint32_t lost;

	/* the LED as receiver: the junction's charge is 1 when it begins to float, and its pin falls when it is 0 */
	uint8_t port, ddr;
	bool floating;
	double charge, charge_at;     /* as of then */
	double neighbours, ambient;   /* light of the others, in steady neighbours; of the room, 1 at the start */
	struct power { double at, power; } arriving_light[PENDING];
	int light_from, light_used;
	uint64_t asleep;              /* cycles */
	double due;                   /* when it runs next, ns */

	uint32_t stack; /* the lowest stack pointer seen */
	int pty;
	bool opened; /* a program has the terminal */
	void (*mcu_reset)(struct avr_t *);
};

static struct board boards[MAX_BOARDS];
static int board_count = 2;
static double gain[MAX_BOARDS][MAX_BOARDS];
static bool led;
static double dark_ns = 118e3, bright_ns = 74e3, noise, ripple;
static double jitter_ns, distortion_ns, usb_ns = 1e6, now_ns;
static uint64_t rng = 1;
static FILE *trace;
static int clock_file = -1;
static const char *boot;
static uint32_t boot_start;

static void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("emu: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static double uniform(void) /* (0, 1) */
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return ((double)(rng >> 11) + 0.5) / 9007199254740992.0;
}

static double gaussian(void) { return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform()); }

static void append(struct octets *o, uint8_t v)
{
	if (o->from == o->to)
		o->from = o->to = 0;
	if (o->to == o->room) {
		o->room = o->room ? 2 * o->room : 4096;
		o->at = realloc(o->at, o->room);
		if (!o->at)
			die("no memory");
	}
	o->at[o->to++] = v;
}

static double time_of(const struct board *b) { return (double)b->avr->cycle * b->cycle_ns; }

/* A core that sleeps wakes a cycle behind its next timer, as in simavr's own loop. */
static avr_cycle_count_t wakes(const struct board *b)
{
	avr_cycle_count_t when = b->avr->cycle_timers.timer ? b->avr->cycle_timers.timer->when : 0;
	return (when > b->avr->cycle ? when : b->avr->cycle) + 1;
}

/* When b runs next has changed. */
static void plan(struct board *b)
{
	b->due = (double)(b->avr->state == cpu_Sleeping ? wakes(b) : b->avr->cycle) * b->cycle_ns;
}

static avr_cycle_count_t cycle_at(const struct board *b, double ns) { return (avr_cycle_count_t)ceil(ns / b->cycle_ns); }

static void at(struct board *b, double ns, avr_cycle_timer_t fn)
{
	avr_cycle_count_t when = cycle_at(b, ns);
	avr_cycle_timer_register(b->avr, when > b->avr->cycle ? when - b->avr->cycle : 1, fn, b);
	plan(b);
}

/* ------------------------------------------------------------- serial line */

static double board_bit_ns(const struct board *b)
{
	int ubrr = b->avr->data[UBRR0L] | (b->avr->data[UBRR0H] & 0x0F) << 8;
	return (b->ucsra & U2X ? 8 : 16) * (ubrr + 1) * b->cycle_ns;
}

/* The middle of the stop bit lies 9.5 bits from the start; half a bit off and it is read wrong. */
static bool misread(const struct board *b)
{
	return fabs(board_bit_ns(b) / b->host_bit_ns - 1) * 9.5 > 0.45;
}

/* simavr queues an interrupt anew each time it is raised after it was cleared, and
 * its queue is short: a UART that is polled for long while interrupts are off would
 * push out others, which then never come again. */
static void raise_uart(struct board *b, avr_int_vector_t *vector)
{
	avr_int_pending_t *queue = &b->avr->interrupts.pending;
	for (int i = queue->read; i != queue->write; i = (i + 1) % avr_int_pending_fifo_size)
		if (queue->buffer[i] == vector) {
			vector->pending = 1;
			if (b->avr->sreg[S_I] && b->avr->interrupt_state == 0)
				b->avr->interrupt_state = 1;
			if (b->avr->state == cpu_Sleeping)
				b->avr->state = cpu_Running;
			return;
		}
	avr_raise_interrupt(b->avr, vector);
}

static void rx_interrupt(struct board *b)
{
	if (b->fifo_used && b->avr->data[UCSR0B] & RXCIE)
		raise_uart(b, b->rx_vector);
	else if (!b->fifo_used)
		avr_clear_interrupt(b->avr, b->rx_vector);
}

/* Raised as long as there is room; simavr clears it when it is served. */
static void udre_interrupt(struct board *b)
{
	if (!b->buffered && b->avr->data[UCSR0B] & UDRIE)
		raise_uart(b, b->udre_vector);
	else
		avr_clear_interrupt(b->avr, b->udre_vector);
}

static void start_arrival(struct board *b);

static avr_cycle_count_t arrived(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	struct board *b = param;
	uint8_t v = b->to_board.at[b->to_board.from++];
	bool bad = misread(b);
	b->arriving = false;
	if (bad) {
		v = (uint8_t)(uniform() * 256);
		b->misread++;
	}
	if (b->holding || b->held_until > b->arrival_start) {
		b->overruns++; /* the shift register was still full when this octet's start bit came */
		b->dor = true;
	} else if (b->fifo_used < 2) {
		b->fifo_bad[b->fifo_used] = bad;
		b->fifo[b->fifo_used++] = v;
	} else {
		b->holding = true;
		b->held = v;
		b->held_bad = bad;
	}
	rx_interrupt(b);
	start_arrival(b);
	return 0;
}

static void start_arrival(struct board *b)
{
	if (b->arriving || b->to_board.from == b->to_board.to)
		return;
	double start = fmax(time_of(b), b->line_free);
	b->arriving = true;
	b->arrival_start = start;
	b->line_free = start + 10 * b->host_bit_ns;
	at(b, start + 9.5 * b->host_bit_ns, arrived);
}

static avr_cycle_count_t left(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	struct board *b = param;
	append(&b->to_host, misread(b) ? (uint8_t)(uniform() * 256) : b->shift);
	b->shifting = b->buffered;
	if (b->buffered) {
		b->shift = b->buffer;
		b->buffered = false;
		at(b, time_of(b) + 10 * board_bit_ns(b), left);
	} else {
		b->tx_done = true;
	}
	udre_interrupt(b);
	return 0;
}

static uint8_t read_status(avr_t *avr, avr_io_addr_t addr, void *param)
{
	struct board *b = param;
	uint8_t v = (b->ucsra & U2X) | (b->fifo_used ? RXC : 0) | (b->buffered ? 0 : UDRE) | (b->tx_done ? TXC : 0) |
		(b->dor ? DOR : 0) | (b->fifo_used && b->fifo_bad[0] ? FE : 0);
	avr->data[addr] = v;
	return v;
}

static void write_status(avr_t *avr, avr_io_addr_t addr, uint8_t v, void *param)
{
	struct board *b = param;
	b->ucsra = v & U2X;
	if (v & TXC)
		b->tx_done = false;
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
	uint8_t v = b->fifo[0];
	if (b->fifo_used) {
		b->fifo[0] = b->fifo[1];
		b->fifo_bad[0] = b->fifo_bad[1];
		b->fifo_used--;
		b->dor = false;
	}
	if (b->holding) {
		b->holding = false;
		b->held_until = time_of(b);
		b->fifo_bad[b->fifo_used] = b->held_bad;
		b->fifo[b->fifo_used++] = b->held;
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
		b->shifting = true;
		b->shift = v;
		at(b, time_of(b) + 10 * board_bit_ns(b), left);
		udre_interrupt(b);
		return;
	}
	if (b->buffered)
		b->overwritten++;
	b->buffered = true;
	b->buffer = v;
	udre_interrupt(b);
}

static void take_over_uart(struct board *b)
{
	avr_t *avr = b->avr;
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
			b->rx_vector = avr->interrupts.vector[i];
		else if (avr->interrupts.vector[i]->vector == UDRE_VECTOR)
			b->udre_vector = avr->interrupts.vector[i];
	if (!b->rx_vector || !b->udre_vector)
		die("simavr knows no UART interrupt");
}

/* ------------------------------------------------------------------- light */

static void show_line(struct board *b)
{
	avr_raise_irq(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 4), b->line != b->glitch);
}

static avr_cycle_count_t edge_due(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)when;
	struct board *b = param;
	while (b->pending_used && cycle_at(b, b->pending[b->pending_from].at) <= avr->cycle) {
		b->line = b->pending[b->pending_from].light;
		b->pending_from = (b->pending_from + 1) % PENDING;
		b->pending_used--;
		show_line(b);
	}
	return b->pending_used ? cycle_at(b, b->pending[b->pending_from].at) : 0;
}

/* An edge of the comparator. If it would come before the one in front of it,
 * that pulse was too short to be seen: both vanish. */
static void comparator(struct board *b, double ns, bool light)
{
	int last = (b->pending_from + b->pending_used - 1) % PENDING;
	if (b->pending_used && b->pending[last].at >= ns) {
		b->pending_used--;
		b->lost += 2;
		return;
	}
	if (b->pending_used == PENDING) {
		b->lost++;
		return;
	}
	b->pending[(b->pending_from + b->pending_used++) % PENDING] = (struct edge){ns, light};
	if (b->pending_used == 1)
		at(b, ns, edge_due);
}

static void light_arrives(struct board *b, double ns, double power, double strength)
{
	b->mean += (b->received - b->mean) * (1 - exp(-(ns - b->mean_at) / slicer_tau_ns));
	b->mean_at = ns;
	b->received = power;
	double above = power - b->mean;
	bool light = above > slicer_hysteresis / 2 || (b->slicer && above > -slicer_hysteresis / 2);
	if (light == b->slicer)
		return;
	b->slicer = light;
	comparator(b, ns + FLIGHT_NS + (light ? -0.5 : 0.5) * distortion_ns + jitter_ns / strength * gaussian(), light);
}

/* What a person sees of a board's light: its mean level and the trace. */
static void show_eye(struct board *b, double ns, double level)
{
	if (level == b->eye)
		return;
	b->eye_sum += b->eye * (ns - b->eye_since);
	b->eye_since = ns;
	b->eye = level;
	if (trace)
		fprintf(trace, "%d %.0f %g\n", b->number, ns, level);
}

/* Timer 2 toggles D11 each other cycle. simavr moves that pin between instructions
 * only, of which some take longer; what the pin is in the mean is known. */
static bool blinks(const struct board *b) { return !led && b->avr->data[TCCR2A] & COM2A; }

/* --------------------------------------------------------- LED as receiver */

enum { CATHODE = 1, ANODE = 2 };

static const double ripple_hz = 100;

/* Charge that light takes, per ns. */
static double discharge_rate(const struct board *b, double ns)
{
	double lamp = b->ambient * (1 + ripple * sin(2e-9 * M_PI * ripple_hz * ns));
	return lamp / dark_ns + b->neighbours * (1 / bright_ns - 1 / dark_ns);
}

static avr_cycle_count_t discharged(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	struct board *b = param;
	b->floating = false;
	b->charge = 0;
	avr_raise_irq(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('B'), 0), 0);
	return 0;
}

/* Takes off what light has taken until ns, and foresees the end. */
static void discharge(struct board *b, double ns)
{
	if (!b->floating)
		return;
	if (ns > b->charge_at) {
		b->charge -= (ns - b->charge_at) * discharge_rate(b, (ns + b->charge_at) / 2);
		b->charge_at = ns;
	}
	avr_cycle_timer_cancel(b->avr, discharged, b);
	at(b, b->charge_at + fmax(0, b->charge) / discharge_rate(b, b->charge_at), discharged);
}

static avr_cycle_count_t light_due(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)when;
	struct board *b = param;
	while (b->light_used && cycle_at(b, b->arriving_light[b->light_from].at) <= avr->cycle) {
		struct power p = b->arriving_light[b->light_from];
		b->light_from = (b->light_from + 1) % PENDING;
		b->light_used--;
		discharge(b, p.at); /* with the light until now */
		b->neighbours = p.power;
		discharge(b, p.at);
	}
	return b->light_used ? cycle_at(b, b->arriving_light[b->light_from].at) : 0;
}

static void light_reaches_led(struct board *to, double ns)
{
	double power = 0;
	for (int j = 0; j < board_count; j++)
		if (j != to->number)
			power += gain[j][to->number] * boards[j].level;
	if (to->light_used == PENDING)
		die("board %d: more light than it has memory for", to->number);
	to->arriving_light[(to->light_from + to->light_used++) % PENDING] = (struct power){ns + FLIGHT_NS, power};
	if (to->light_used == 1)
		at(to, ns + FLIGHT_NS, light_due);
}

static void led_pins(struct avr_irq_t *irq, uint32_t value, void *param)
{
	struct board *b = param;
	double t = time_of(b);
	if (irq->irq == IOPORT_IRQ_REG_PORT)
		b->port = (uint8_t)value;
	else
		b->ddr = (uint8_t)value;
	bool driven = b->ddr & CATHODE;
	if (driven && b->floating) {
		b->floating = false;
		avr_cycle_timer_cancel(b->avr, discharged, b);
	}
	if (driven)
		b->charge = b->port & CATHODE ? 1 : 0;
	else if (!b->floating && b->charge > 0) {
		b->floating = true;
		b->charge = 1 + noise * gaussian();
		b->charge_at = t;
		discharge(b, t);
	}
	double level = (b->ddr & (CATHODE | ANODE)) == (CATHODE | ANODE) && (b->port & (CATHODE | ANODE)) == ANODE;
	if (level == b->level)
		return;
	b->level = level;
	b->edges++;
	show_eye(b, t, level);
	for (int i = 0; i < board_count; i++)
		if (i != b->number && gain[b->number][i] != 0)
			light_reaches_led(&boards[i], t);
}

/* Both pins change in one cycle, but simavr tells them one by one. */
static void flush_light(struct board *b)
{
	if (!b->pins_changed)
		return;
	b->pins_changed = false;
	double level = 0.5 * (b->pins & 1) + 0.5 * (b->pins >> 1);
	if (!blinks(b))
		show_eye(b, b->pins_at, level);
	if (level == b->level)
		return;
	uint64_t cycle = (uint64_t)llround(b->pins_at / b->cycle_ns);
	b->level = level;
	b->edges++;
	/* Inside a frame every edge lies on a grid of 16 cycles. */
	if (cycle - b->last_change > 1500)
		b->anchor = cycle;
	else if ((cycle - b->anchor) % 16)
		b->late_edges++;
	b->last_change = cycle;
	for (int i = 0; i < board_count; i++) {
		struct board *to = &boards[i];
		if (to == b || gain[b->number][i] == 0)
			continue;
		double power = 0;
		for (int j = 0; j < board_count; j++)
			if (j != i)
				power += gain[j][i] * boards[j].level;
		light_arrives(to, b->pins_at, power, gain[b->number][i]);
	}
}

static void pin_changed(struct avr_irq_t *irq, uint32_t value, void *param)
{
	struct board *b = param;
	uint8_t bit = (uint8_t)(1 << (irq->irq - 3));
	double t = time_of(b);
	if (b->pins_changed && t > b->pins_at)
		flush_light(b);
	uint8_t pins = (uint8_t)((b->pins & ~bit) | (value & 1 ? bit : 0));
	if (pins == b->pins)
		return;
	b->pins = pins;
	b->pins_at = t;
	b->pins_changed = true;
}

/* A comparator without enough hysteresis: it toggles by itself. */
static avr_cycle_count_t chatter(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	struct board *b = param;
	if (b->chatter_ns == 0)
		return 0;
	b->slicer = !b->slicer;
	comparator(b, time_of(b) + FLIGHT_NS, b->slicer);
	/* pulses of 0.3 to 50 µs, as many in each octave */
	return b->avr->cycle + 1 + (avr_cycle_count_t)(300 * pow(50e3 / 300, uniform()) / b->cycle_ns);
}

/* Wrong chips: for 1 µs at random times the comparator shows the opposite. */
static avr_cycle_count_t glitch(avr_t *avr, avr_cycle_count_t when, void *param)
{
	(void)avr;
	(void)when;
	struct board *b = param;
	if (!b->glitch && b->glitch_ns == 0) {
		b->glitching = false;
		return 0;
	}
	b->glitch = !b->glitch;
	show_line(b);
	double ns = b->glitch ? GLITCH_NS : -b->glitch_ns * log(uniform());
	return b->avr->cycle + 1 + (avr_cycle_count_t)(ns / b->cycle_ns);
}

/* -------------------------------------------------------------------- time */

/* simavr takes a core that sleeps to its next timer at once, past light that others have yet
 * to send. So it is kept where it is until all others have come that far. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles) { avr->cycle -= 1 + cycles; }

/* Lets the time pass that b sleeps. */
static void doze(struct board *b, avr_cycle_count_t until)
{
	if (b->avr->state != cpu_Sleeping || until <= b->avr->cycle)
		return;
	b->asleep += until - b->avr->cycle;
	b->avr->cycle = until;
}

/* What simavr does not know of and must not survive a reset: it has dropped all
 * timers. Time goes on. */
static void after_reset(avr_t *avr)
{
	struct board *b = boards;
	while (b->avr != avr)
		b++;
	if (b->mcu_reset)
		b->mcu_reset(avr);
	b->fifo_used = 0;
	b->holding = b->dor = b->shifting = b->buffered = b->tx_done = b->arriving = b->glitching = false;
	b->held_until = 0;
	b->ucsra = 0;
	b->to_board.from = b->to_board.to;
	b->line = b->pending_used ? b->pending[(b->pending_from + b->pending_used - 1) % PENDING].light : b->line;
	b->pending_used = b->light_used = 0;
	b->pins_changed = b->floating = false;
}

static void push_reset(struct board *b)
{
	avr_cycle_count_t now = b->avr->cycle;
	avr_reset(b->avr);
	b->avr->cycle = now;
	b->avr->state = cpu_Running;
	b->avr->pc = b->avr->reset_pc;
	avr_regbit_set(b->avr, b->avr->reset_flags.extrf);
	show_line(b);
}

static void run_until(double ns)
{
	for (int i = 0; i < board_count; i++)
		plan(&boards[i]);
	for (;;) {
		struct board *b = &boards[0];
		for (int i = 1; i < board_count; i++)
			if (boards[i].due < b->due)
				b = &boards[i];
		if (b->due >= ns)
			break;
		doze(b, wakes(b));
		int state = avr_run(b->avr);
		if (boot && (state == cpu_Done || state == cpu_Crashed)) {
			push_reset(b); /* there is no program yet: it ran into empty flash */
			plan(b);
			continue;
		}
		if (state == cpu_Done || state == cpu_Crashed)
			die("board %d stopped at %#x after %.0f ns", b->number, b->avr->pc, time_of(b));
		plan(b);
		flush_light(b);
		show_eye(b, time_of(b), blinks(b) ? 0.25 + 0.5 * (b->pins >> 1) : b->level);
		uint32_t sp = b->avr->data[R_SPL] | b->avr->data[R_SPH] << 8;
		if (sp < b->stack && sp != 0)
			b->stack = sp;
	}
	for (int i = 0; i < board_count; i++)
		doze(&boards[i], cycle_at(&boards[i], ns));
}

static uint32_t load(struct board *b, const char *hex)
{
	ihex_chunk_p chunks = NULL;
	int n = read_ihex_chunks(hex, &chunks);
	if (n <= 0)
		die("%s: no image", hex);
	uint32_t start = chunks[0].baseaddr;
	for (int i = 0; i < n; i++)
		memcpy(b->avr->flash + chunks[i].baseaddr, chunks[i].data, chunks[i].size);
	free_ihex_chunks(chunks);
	return start;
}

static void start_board(struct board *b, const char *hex, double ppm)
{
	b->avr = avr_make_mcu_by_name("atmega328p");
	if (!b->avr)
		die("simavr knows no ATmega328P");
	avr_init(b->avr);
	b->avr->frequency = 16000000;
	b->avr->log = LOG_ERROR;
	b->avr->sleep = no_sleep;
	b->avr->run_cycle_limit = STEP;
	memset(b->avr->flash, 0xFF, b->avr->flashend + 1);
	if (hex)
		load(b, hex);
	if (boot) {
		boot_start = load(b, boot);
		b->avr->reset_pc = b->avr->pc = boot_start;
		avr_regbit_set(b->avr, b->avr->reset_flags.extrf);
	}
	b->mcu_reset = b->avr->reset;
	b->avr->reset = after_reset;
	b->avr->codeend = b->avr->flashend;
	b->cycle_ns = 62.5 / (1 + ppm * 1e-6);
	b->host_bit_ns = 1e9 / 115200;
	b->stack = b->avr->ramend;
	take_over_uart(b);
	b->ambient = 1;
	if (led) {
		avr_irq_register_notify(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('B'), IOPORT_IRQ_REG_PORT), led_pins, b);
		avr_irq_register_notify(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('B'), IOPORT_IRQ_DIRECTION_ALL), led_pins, b);
		return;
	}
	for (int pin = 3; pin <= 4; pin++)
		avr_irq_register_notify(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('B'), pin), pin_changed, b);
	avr_raise_irq(avr_io_getirq(b->avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 4), 0);
}

static void usb_frame(void)
{
	for (int i = 0; i < board_count; i++) {
		struct board *b = &boards[i];
		while (b->from_host.from != b->from_host.to)
			append(&b->to_board, b->from_host.at[b->from_host.from++]);
		start_arrival(b);
	}
	now_ns += usb_ns;
	run_until(now_ns);
}

/* ---------------------------------------------- the host's end: the caller */

static void get(void *p, size_t n)
{
	if (fread(p, 1, n, stdin) != n)
		exit(0); /* the caller is gone */
}

static void put(const void *p, size_t n)
{
	if (fwrite(p, 1, n, stdout) != n)
		exit(1);
}

struct __attribute__((packed)) report {
	double time_ns, mean_level;
	uint64_t cycles, edges, late_edges, asleep;
	uint32_t overruns, overwritten, misread, edges_lost, unread, stack;
};

static struct board *which(void)
{
	uint8_t i;
	get(&i, 1);
	if (i >= board_count)
		die("no board %d", i);
	return &boards[i];
}

/* Commands on standard input; numbers little-endian.
 *   S  for each board: u16 n, n octets that the host writes. One USB frame passes; the
 *      answer is for each board: u16 n, n octets that the host reads
 *   G  u8 from, u8 to, f64 gain: the light's strength from one board to another; 0 is a hand in the beam
 *   U  u8 board, u32 baud: the speed of the host's end
 *   C  u8 board, u8 on: its comparator chatters
 *   E  u8 board, f64 share: so large a share of its comparator's time is spent in glitches
 *   A  u8 board, f64: the room's light at its LED, 1 at the start
 *   Q  u8 board: the answer is a report; the mean level is since the last one */
static void serve(void)
{
	for (;;) {
		char command;
		get(&command, 1);
		switch (command) {
		case 'S':
			for (int i = 0; i < board_count; i++) {
				uint16_t n;
				get(&n, 2);
				for (uint8_t v; n; n--) {
					get(&v, 1);
					append(&boards[i].from_host, v);
				}
			}
			usb_frame();
			for (int i = 0; i < board_count; i++) {
				struct octets *o = &boards[i].to_host;
				size_t n = o->to - o->from;
				uint16_t u = (uint16_t)(n > 65535 ? 65535 : n);
				put(&u, 2);
				put(o->at + o->from, u);
				o->from += u;
			}
			fflush(stdout);
			break;
		case 'G': {
			struct board *from = which(), *to = which();
			get(&gain[from->number][to->number], sizeof(double));
			if (led) {
				light_reaches_led(to, now_ns);
				break;
			}
			double power = 0;
			for (int j = 0; j < board_count; j++)
				if (j != to->number)
					power += gain[j][to->number] * boards[j].level;
			light_arrives(to, now_ns, power, 1);
			break;
		}
		case 'U': {
			struct board *b = which();
			uint32_t baud;
			get(&baud, 4);
			if (baud == 0)
				die("no speed");
			b->host_bit_ns = 1e9 / baud;
			break;
		}
		case 'C': {
			struct board *b = which();
			uint8_t on;
			get(&on, 1);
			b->chatter_ns = on;
			if (on)
				avr_cycle_timer_register(b->avr, 1, chatter, b);
			break;
		}
		case 'E': {
			struct board *b = which();
			double share;
			get(&share, sizeof share);
			b->glitch_ns = share > 0 ? GLITCH_NS / share - GLITCH_NS : 0;
			if (share > 0 && !b->glitching) {
				b->glitching = true;
				avr_cycle_timer_register(b->avr, 1, glitch, b);
			}
			break;
		}
		case 'A': {
			struct board *b = which();
			discharge(b, now_ns);
			get(&b->ambient, sizeof b->ambient);
			discharge(b, now_ns);
			break;
		}
		case 'Q': {
			struct board *b = which();
			b->eye_sum += b->eye * (now_ns - b->eye_since);
			struct report r = {
				.time_ns = now_ns, .mean_level = b->eye_sum / fmax(1, now_ns - b->eye_started),
				.cycles = b->avr->cycle, .edges = b->edges, .late_edges = b->late_edges, .asleep = b->asleep,
				.overruns = b->overruns, .overwritten = b->overwritten, .misread = b->misread, .edges_lost = b->lost,
				.unread = (uint32_t)(b->to_board.to - b->to_board.from), .stack = b->stack,
			};
			b->eye_sum = 0;
			b->eye_since = b->eye_started = now_ns;
			put(&r, sizeof r);
			fflush(stdout);
			break;
		}
		default:
			die("no command %d", command);
		}
	}
}

/* -------------------------------------------- the host's end: terminals */

static void open_pty(struct board *b)
{
	char name[256];
	struct termios raw;
	int slave;
	cfmakeraw(memset(&raw, 0, sizeof raw));
	cfsetspeed(&raw, B115200);
	if (openpty(&b->pty, &slave, name, &raw, NULL) != 0)
		die("no pseudo-terminal: %s", strerror(errno));
	fcntl(b->pty, F_SETFL, O_NONBLOCK);
	/* The slave stays open here, or the master would fail whenever no program has it.
	 * With a boot loader just that is wanted: it shows when one opens the line. */
	if (boot)
		close(slave);
	printf("board %d %s\n", b->number, name);
	fflush(stdout);
}

static uint32_t speed_of(int pty)
{
	static const struct { speed_t code; uint32_t baud; } speeds[] = {
		{B115200, 115200}, {B500000, 500000}, {B1000000, 1000000}, {B2000000, 2000000}};
	struct termios t;
	if (tcgetattr(pty, &t) == 0)
		for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
			if (cfgetospeed(&t) == speeds[i].code)
				return speeds[i].baud;
	return 115200;
}

static void ended(int signal)
{
	(void)signal;
	_exit(0);
}

static void serve_ptys(void)
{
	signal(SIGTERM, ended);
	struct timespec start, t;
	struct stat in;
	bool watched = fstat(0, &in) == 0 && S_ISFIFO(in.st_mode);
	for (int i = 0; i < board_count; i++)
		open_pty(&boards[i]);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (;;) {
		for (int i = 0; i < board_count; i++) {
			struct board *b = &boards[i];
			uint8_t buffer[4096];
			b->host_bit_ns = 1e9 / speed_of(b->pty);
			/* No more than the line takes, or a program's writes would never block. */
			double backlog = (double)(b->to_board.to - b->to_board.from) * 10 * b->host_bit_ns;
			ssize_t n = backlog < 4 * usb_ns ? read(b->pty, buffer, sizeof buffer) : 0;
			if (boot) {
				struct pollfd line = {.fd = b->pty, .events = POLLIN};
				bool open = poll(&line, 1, 0) >= 0 && !(line.revents & POLLHUP);
				if (open && !b->opened) {
					push_reset(b);
					b->to_host.from = b->to_host.to;
				}
				b->opened = open;
			}
			for (ssize_t j = 0; j < n; j++)
				append(&b->from_host, buffer[j]);
		}
		usb_frame();
		for (int i = 0; i < board_count; i++) {
			struct octets *o = &boards[i].to_host;
			if (o->from == o->to)
				continue;
			ssize_t n = write(boards[i].pty, o->at + o->from, o->to - o->from);
			if (n > 0)
				o->from += (size_t)n;
		}
		char text[32];
		int n = snprintf(text, sizeof text, "%020.0f\n", now_ns);
		if (clock_file >= 0 && pwrite(clock_file, text, (size_t)n, 0) != n)
			die("clock: %s", strerror(errno));
		clock_gettime(CLOCK_MONOTONIC, &t);
		double ahead = now_ns - ((double)(t.tv_sec - start.tv_sec) * 1e9 + (double)(t.tv_nsec - start.tv_nsec));
		if (ahead < -LATE_NS) /* no hurry to catch up: programs would see the boards' time run too fast */
			start.tv_nsec += (long)(-ahead - LATE_NS);
		while (start.tv_nsec >= 1000000000) {
			start.tv_nsec -= 1000000000;
			start.tv_sec++;
		}
		if (ahead > 0)
			nanosleep(&(struct timespec){(time_t)(ahead / 1e9), (long)fmod(ahead, 1e9)}, NULL);
		struct pollfd caller = {.fd = 0};
		if (watched && poll(&caller, 1, 0) == 1)
			exit(0); /* the pipe to whoever started us is broken */
	}
}

int main(int argc, char **argv)
{
	const char *hex = NULL, *ppm = "";
	bool ptys = false;
	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		if (!value)
			die("%s: not name=value", argv[i]);
		*value++ = 0;
		if (!strcmp(argv[i], "hex"))
			hex = value;
		else if (!strcmp(argv[i], "boards"))
			board_count = atoi(value);
		else if (!strcmp(argv[i], "ppm"))
			ppm = value;
		else if (!strcmp(argv[i], "jitter"))
			jitter_ns = atof(value);
		else if (!strcmp(argv[i], "distortion"))
			distortion_ns = atof(value);
		else if (!strcmp(argv[i], "usb"))
			usb_ns = atof(value) * 1e3;
		else if (!strcmp(argv[i], "led"))
			led = atoi(value) != 0;
		else if (!strcmp(argv[i], "dark"))
			dark_ns = atof(value);
		else if (!strcmp(argv[i], "bright"))
			bright_ns = atof(value);
		else if (!strcmp(argv[i], "noise"))
			noise = atof(value);
		else if (!strcmp(argv[i], "ripple"))
			ripple = atof(value);
		else if (!strcmp(argv[i], "seed"))
			rng = strtoull(value, NULL, 10) * 0x9E3779B97F4A7C15u | 1;
		else if (!strcmp(argv[i], "trace")) {
			if (!(trace = fopen(value, "w")))
				die("%s: %s", value, strerror(errno));
		} else if (!strcmp(argv[i], "boot")) {
			boot = value;
		} else if (!strcmp(argv[i], "clock")) {
			if ((clock_file = open(value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) < 0)
				die("%s: %s", value, strerror(errno));
		} else if (!strcmp(argv[i], "pty"))
			ptys = atoi(value) != 0;
		else
			die("%s: no such setting", argv[i]);
	}
	if (bright_ns <= 0 || bright_ns >= dark_ns || noise < 0 || ripple < 0 || ripple >= 1)
		die("0 < bright < dark, noise of at least 0, 0 <= ripple < 1");
	if ((!hex && !boot) || board_count < 1 || board_count > MAX_BOARDS || usb_ns < 1e4)
		die("hex=FILE or boot=FILE, 1 to %d boards, usb of at least 10 µs", MAX_BOARDS);
	for (int i = 0; i < board_count; i++) {
		char *rest;
		double p = strtod(ppm, &rest);
		ppm = *rest == ',' ? rest + 1 : rest;
		boards[i].number = i;
		start_board(&boards[i], hex, p);
		for (int j = 0; j < board_count; j++)
			gain[i][j] = 1;
	}
	if (ptys)
		serve_ptys();
	serve();
}
