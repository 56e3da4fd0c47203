# A guest with no operating system: it dirties memory at an exact rate, checks it, and beats on COM1.
#
# Loaded by QEMU's own multiboot loader (<kernel>), so it runs in 32-bit flat mode at once and needs no disk.
# Its configuration is on the command line (<cmdline>): "@PAGES RATE DIVISOR FLAGS", hexadecimal words
#   PAGES    pages of the working set, from 4 MiB upwards
#   RATE     pages written per tick (changed live: type a decimal number and Enter)
#   DIVISOR  of the 1193182 Hz timer, one tick per period
#   FLAGS    bit 0: write a ring of heartbeat sectors to the first IDE disk
#
# COM1: one dot per tick; every tenth tick the line "T<ticks> R<rate> P<pass> E<errors>" in hexadecimal.
#
# QEMU 7.2 under TCG forgets pages that were dirtied through a TLB entry it did not re-arm. Hence: the TLB is
# flushed every tick and every pass (CR0.WP toggles), each page is written once between two flushes, and all
# that changes lives in registers. Nothing is ever read back from the stack: no call, no ret, no iret.
#
#   ebp ticks   esi pass   edi next page   mm0 errors   mm1 rate   mm2 number being typed
#   eax ebx ecx edx scratch

        .set    LOAD, 0x100000
        .set    BASE, 0x400000
        .set    COM1, 0x3f8
        .set    ATA, 0x1f0
        .set    RING_FIRST, 64
        .set    RING_MASK, 31
        .set    MAGIC, 0x1BADB002
        .set    HAS_ADDRESSES, 0x10000

        .code32
        .text
        .globl  _start
_start:
header: .long   MAGIC, HAS_ADDRESSES, -(MAGIC + HAS_ADDRESSES)
        .long   header, LOAD, image_end, bss_end, boot

        .macro  FLUSH_TLB
        mov     %cr0, %eax
        xor     $0x10000, %eax
        mov     %eax, %cr0
        .endm

        .macro  PORT8 port, value
        mov     $\value, %al
        out     %al, $\port
        .endm

        .macro  PORT16 port, value
        mov     $\port, %edx
        mov     $\value, %al
        out     %al, %dx
        .endm

        # Print a letter and ebx as eight digits. The transmitter is never polled: QEMU's is always ready.
        .macro  PRINT letter
        mov     $COM1, %edx
        mov     $\letter, %al
        out     %al, %dx
        mov     $8, %ecx
1:      rol     $4, %ebx
        mov     %bl, %al
        and     $15, %al
        add     $'0', %al
        cmp     $'9', %al
        jbe     2f
        add     $39, %al
2:      out     %al, %dx
        dec     %ecx
        jnz     1b
        .endm

boot:   cli
        cld
        mov     $stack_top, %esp
        lgdt    gdt_pointer
        ljmp    $8, $flat
flat:   mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        fninit
        mov     16(%ebx), %esi          # multiboot information: command line

find:   lodsb
        test    %al, %al
        jz      configured
        cmp     $'@', %al
        jne     find
        mov     $pages, %edi
        mov     $4, %ecx
word:   xor     %edx, %edx
digit:  lodsb
        test    %al, %al
        jnz     1f
        dec     %esi                    # stay on the end: the words that are missing become 0
1:      sub     $'0', %al
        jb      store
        cmp     $9, %al
        jbe     2f
        sub     $39, %al
2:      movzx   %al, %eax
        shl     $4, %edx
        or      %eax, %edx
        jmp     digit
store:  mov     %edx, %eax
        stosl
        dec     %ecx
        jnz     word
configured:
        mov     pages, %eax
        shl     $12, %eax
        add     $BASE, %eax
        mov     %eax, end

        mov     $tick, %eax             # both gates: timer 0x20, spurious 0x27
        mov     $0x00080000, %ebx
        mov     %ax, %bx
        mov     %ebx, idt + 0x20 * 8
        mov     %ebx, idt + 0x27 * 8
        mov     $0x8e00, %ax
        mov     %eax, idt + 0x20 * 8 + 4
        mov     %eax, idt + 0x27 * 8 + 4
        lidt    idt_pointer

        PORT8     0x20, 0x11
        PORT8     0xa0, 0x11
        PORT8     0x21, 0x20
        PORT8     0xa1, 0x28
        PORT8     0x21, 4
        PORT8     0xa1, 2
        PORT8     0x21, 1
        PORT8     0xa1, 1
        PORT8     0x21, 0xfe
        PORT8     0xa1, 0xff
        PORT8     0x43, 0x34
        mov     divisor, %eax
        out     %al, $0x40
        mov     %ah, %al
        out     %al, $0x40
        PORT16    COM1+3, 3
        PORT16    COM1+1, 0
        PORT16    COM1+2, 0
        PORT16    0x3f6, 2                # the disk raises no interrupts

        xor     %ebp, %ebp
        mov     $1, %esi
        mov     $BASE, %edi
        pxor    %mm0, %mm0
        movd    rate, %mm1
        pxor    %mm2, %mm2
idle:   sti
        hlt
        jmp     idle

tick:   mov     $stack_top, %esp        # forget what the interrupt pushed
        PORT8     0x20, 0x20
        inc     %ebp
        FLUSH_TLB

keys:   in      $0x64, %al
        test    $1, %al
        jz      writes
        in      $0x60, %al
        cmp     $0x1c, %al              # Enter
        je      commit
        sub     $2, %al                 # 1 2 3 4 5 6 7 8 9 0 are 2..11
        cmp     $9, %al
        ja      keys
        inc     %al
        cmp     $10, %al
        jne     1f
        xor     %al, %al
1:      movzx   %al, %eax
        movd    %mm2, %edx
        lea     (%edx,%edx,4), %edx
        lea     (%eax,%edx,2), %eax
        movd    %eax, %mm2
        jmp     keys
commit: movq    %mm2, %mm1
        pxor    %mm2, %mm2
        jmp     keys

writes: movd    %mm1, %ecx
        lea     -1(%esi), %edx
page:   dec     %ecx
        js      beat
        cmp     $1, %esi                # nothing is known of memory before the first pass
        je      1f
        cmp     %edx, (%edi)
        je      1f
        movd    %mm0, %eax
        inc     %eax
        movd    %eax, %mm0
1:      mov     %esi, (%edi)
        add     $4096, %edi
        cmp     end, %edi
        jb      page
        mov     $BASE, %edi
        inc     %esi
        inc     %edx
        FLUSH_TLB                       # a page may be written again in this tick
        jmp     page

beat:   mov     %ebp, %eax
        xor     %edx, %edx
        mov     $10, %ecx
        div     %ecx
        test    %edx, %edx
        jz      line
        mov     $COM1, %edx
        mov     $'.', %al
        out     %al, %dx
        jmp     idle

line:   mov     %ebp, %ebx
        PRINT   'T'
        movd    %mm1, %ebx
        PRINT   'R'
        mov     %esi, %ebx
        PRINT   'P'
        movd    %mm0, %ebx
        PRINT   'E'
        mov     $10, %al
        out     %al, %dx
        testb   $1, flags
        jz      idle

        mov     $ATA+7, %edx            # still busy with the last sector: leave this one out
        in      %dx, %al
        test    $0x80, %al
        jnz     idle
        PORT16    ATA+6, 0xe0
        PORT16    ATA+2, 1
        mov     %ebp, %eax
        xor     %edx, %edx
        mov     $10, %ecx
        div     %ecx
        and     $RING_MASK, %eax
        add     $RING_FIRST, %eax
        mov     $ATA+3, %edx
        out     %al, %dx
        PORT16    ATA+4, 0
        PORT16    ATA+5, 0
        PORT16    ATA+7, 0x30             # write sectors
        mov     $100000, %ecx
ready:  dec     %ecx
        jz      idle
        in      %dx, %al
        test    $0x80, %al
        jnz     ready
        test    $8, %al
        jz      ready
        mov     $ATA, %edx
        mov     $32, %ecx
sector: mov     $0x54414542, %eax       # "BEAT"
        out     %eax, %dx
        mov     %ebp, %eax
        out     %eax, %dx
        mov     %esi, %eax
        out     %eax, %dx
        movd    %mm0, %eax
        out     %eax, %dx
        dec     %ecx
        jnz     sector
        jmp     idle

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt
idt_pointer:
        .word   0x28 * 8 - 1
        .long   idt
        .balign 4
pages:  .long   16                      # in this order on the command line
rate:   .long   1
divisor:
        .long   11932
flags:  .long   0
end:    .long   0
        .balign 16
idt:    .fill   0x28 * 8, 1, 0
image_end:
        .set    stack_top, image_end + 4096
        .set    bss_end, stack_top
