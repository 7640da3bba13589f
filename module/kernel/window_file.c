// SPDX-License-Identifier: GPL-2.0
/*
 * Files that a window has private copies of. A file's number is its address; a VMA of
 * the shadow's has a reference.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

#include "bindings.h"

/* Of /dev/zero (devlist of drivers/char/mem.c). */
#define ZERO_MINOR 5

/*
 * Whether an inode is kernfs's, whose files have a_ops and an mmap, but no pages: what is in the page
 * cache is not what is read, and all but a few, of devices' memory, are ENODEV (kernfs_fop_mmap()).
 */
static bool is_of_kernfs(const struct inode *inode)
{
	switch (inode->i_sb->s_magic) {
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case RDTGROUP_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* Takes a reference to an open file of the caller's; false where there is none. */
bool shadowmm_file_get(int fd, struct shadowmm_file *found)
{
	struct file *file = fget(fd);
	struct address_space *mapping;

	if (!file)
		return false;
	mapping = file->f_mapping;
	found->number = (unsigned long)file;
	found->readable = file->f_mode & FMODE_READ;
	found->writable = file->f_mode & FMODE_WRITE;
	found->append = IS_APPEND(file_inode(file));
	found->noexec = (file->f_path.mnt->mnt_flags & MNT_NOEXEC) ||
			(file_inode(file)->i_sb->s_iflags & SB_I_NOEXEC);
	found->huge = is_file_hugepages(file);
	found->zero = S_ISCHR(file_inode(file)->i_mode) && can_mmap_file(file) &&
		      file_inode(file)->i_rdev == MKDEV(MEM_MAJOR, ZERO_MINOR);
	found->pages = S_ISREG(file_inode(file)->i_mode) && can_mmap_file(file) &&
		       !is_of_kernfs(file_inode(file)) &&
		       (shmem_mapping(mapping) || mapping->a_ops->read_folio);
	return true;
}

/*
 * Whether those who guard a file let a part of it be read, as read() asks them and mmap() does
 * (rw_verify_area(), vm_mmap_pgoff()): security modules, and who listens by fanotify, who is waited for. 0, or
 * a negative errno.
 */
int shadowmm_file_ask(u64 number, u64 offset, u64 len)
{
	loff_t pos = offset;

	/* What no file has is refused elsewhere. */
	if (offset > LLONG_MAX || len > LLONG_MAX - offset)
		return 0;
	return rw_verify_area(READ, (struct file *)(unsigned long)number, &pos, len);
}

void shadowmm_file_ref(u64 number)
{
	get_file((struct file *)(unsigned long)number);
}

void shadowmm_file_put(u64 number)
{
	fput((struct file *)(unsigned long)number);
}

/* Where it lies: two numbers of the device, and the inode's. */
void shadowmm_file_info(u64 number, u32 *dev, u64 *ino)
{
	struct inode *inode = file_inode((struct file *)(unsigned long)number);

	dev[0] = MAJOR(inode->i_sb->s_dev);
	dev[1] = MINOR(inode->i_sb->s_dev);
	*ino = inode->i_ino;
}

/* Its path, at the end of the room, or NULL. */
char *shadowmm_file_path(u64 number, char *room, size_t size)
{
	char *path = file_path((struct file *)(unsigned long)number, room, size);

	return IS_ERR(path) ? NULL : path;
}

/*
 * Copies a page of a file to a frame, from the host's page cache: SHADOWMM_FILE_*. Waits for
 * nobody. A page whose memory is broken, which shmem keeps, is nobody's to read (__do_fault(),
 * shmem_file_read_iter()).
 */
unsigned int shadowmm_file_copy(u64 number, u64 index, unsigned long pfn)
{
	struct address_space *mapping = ((struct file *)(unsigned long)number)->f_mapping;
	struct folio *folio;
	unsigned int done;

	if (index >= DIV_ROUND_UP_ULL(i_size_read(mapping->host), PAGE_SIZE))
		return SHADOWMM_FILE_ENDED;
	folio = filemap_get_folio(mapping, index);
	if (IS_ERR(folio))
		return SHADOWMM_FILE_UNREAD;
	if (PageHWPoison(folio_file_page(folio, index))) {
		done = SHADOWMM_FILE_POISONED;
	} else if (!folio_test_uptodate(folio)) {
		done = SHADOWMM_FILE_UNREAD;
	} else {
		memcpy_from_folio(pfn_to_kaddr(pfn), folio,
				  offset_in_folio(folio, index << PAGE_SHIFT), PAGE_SIZE);
		done = SHADOWMM_FILE_COPIED;
	}
	folio_put(folio);
	return done;
}

/*
 * Whether the caller may know which pages of a file are in memory (can_do_mincore()). A filesystem
 * that would have to be waited for is not asked: its answer is no.
 */
bool shadowmm_file_may_know(u64 number)
{
	struct file *file = (struct file *)(unsigned long)number;
	struct inode *inode = file_inode(file);
	int err;

	if (inode_owner_or_capable(file_mnt_idmap(file), inode))
		return true;
	rcu_read_lock();
	err = inode_permission(file_mnt_idmap(file), inode, MAY_WRITE | MAY_NOT_BLOCK);
	rcu_read_unlock();
	return !err;
}

/* Whether a page of a file is in memory. */
bool shadowmm_file_resident(u64 number, u64 index)
{
	struct file *file = (struct file *)(unsigned long)number;
	struct folio *folio;
	bool resident;

	folio = filemap_get_folio(file->f_mapping, index);
	if (IS_ERR(folio))
		return false;
	resident = folio_test_uptodate(folio);
	folio_put(folio);
	return resident;
}

/*
 * Waits until nobody reads a page of a file any more: who comes second waits in
 * read_mapping_folio() for as long as the first, and can't be killed. What comes between
 * this and that are a few instructions.
 */
static int wait_for_reader(struct address_space *mapping, u64 index)
{
	struct folio *folio = filemap_get_folio(mapping, index);
	int err = 0;

	if (IS_ERR(folio))
		return 0;
	if (!folio_test_uptodate(folio))
		err = folio_wait_locked_killable(folio);
	folio_put(folio);
	return err;
}

/*
 * Has a page of a file in the host's page cache, as filemap_fault() would: nobody takes the
 * file's blocks away meanwhile, and no lock is taken that a writer of the file may hold while
 * he faults. 0, or a negative errno. The filesystem may be a process that does not answer:
 * whoever calls has no lock that others need.
 */
int shadowmm_file_fetch(u64 number, u64 index)
{
	struct file *file = (struct file *)(unsigned long)number;
	struct address_space *mapping = file->f_mapping;
	struct folio *folio;
	int err;

	if (shmem_mapping(mapping)) {
		folio = shmem_read_folio(mapping, index);
	} else {
		err = down_read_killable(&mapping->invalidate_lock);
		if (err)
			return err;
		/* All that the lock was waited for with come at once. */
		err = wait_for_reader(mapping, index);
		if (err) {
			up_read(&mapping->invalidate_lock);
			return err;
		}
		folio = read_mapping_folio(mapping, index, file);
		up_read(&mapping->invalidate_lock);
	}
	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_put(folio);
	return 0;
}
