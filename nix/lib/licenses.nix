# Licences by their usual short names.
{ lib }:
lib.mapAttrs
  (shortName: l: {
    inherit shortName;
    free = true;
    redistributable = l.free or true;
    deprecated = false;
  } // l // lib.optionalAttrs (l ? spdxId) { url = "https://spdx.org/licenses/${l.spdxId}.html"; })
{
  afl21 = { spdxId = "AFL-2.1"; fullName = "Academic Free License v2.1"; };
  agpl3Only = { spdxId = "AGPL-3.0-only"; fullName = "GNU Affero General Public License v3.0 only"; };
  agpl3Plus = { spdxId = "AGPL-3.0-or-later"; fullName = "GNU Affero General Public License v3.0 or later"; };
  artistic1 = { spdxId = "Artistic-1.0"; fullName = "Artistic License 1.0"; };
  artistic2 = { spdxId = "Artistic-2.0"; fullName = "Artistic License 2.0"; };
  asl20 = { spdxId = "Apache-2.0"; fullName = "Apache License 2.0"; };
  beerware = { spdxId = "Beerware"; fullName = "Beerware License"; };
  boost = { spdxId = "BSL-1.0"; fullName = "Boost Software License 1.0"; };
  bsd0 = { spdxId = "0BSD"; fullName = "BSD Zero Clause License"; };
  bsd2 = { spdxId = "BSD-2-Clause"; fullName = "BSD 2-Clause \"Simplified\" License"; };
  bsd3 = { spdxId = "BSD-3-Clause"; fullName = "BSD 3-Clause \"New\" or \"Revised\" License"; };
  bsdOriginal = { spdxId = "BSD-4-Clause"; fullName = "BSD 4-Clause \"Original\" or \"Old\" License"; };
  cc0 = { spdxId = "CC0-1.0"; fullName = "Creative Commons Zero v1.0 Universal"; };
  cc-by-30 = { spdxId = "CC-BY-3.0"; fullName = "Creative Commons Attribution 3.0"; };
  cc-by-40 = { spdxId = "CC-BY-4.0"; fullName = "Creative Commons Attribution 4.0"; };
  cc-by-sa-30 = { spdxId = "CC-BY-SA-3.0"; fullName = "Creative Commons Attribution Share Alike 3.0"; };
  cc-by-sa-40 = { spdxId = "CC-BY-SA-4.0"; fullName = "Creative Commons Attribution Share Alike 4.0"; };
  cddl = { spdxId = "CDDL-1.0"; fullName = "Common Development and Distribution License 1.0"; };
  cpl10 = { spdxId = "CPL-1.0"; fullName = "Common Public License 1.0"; };
  curl = { spdxId = "curl"; fullName = "curl License"; };
  epl10 = { spdxId = "EPL-1.0"; fullName = "Eclipse Public License 1.0"; };
  epl20 = { spdxId = "EPL-2.0"; fullName = "Eclipse Public License 2.0"; };
  eupl12 = { spdxId = "EUPL-1.2"; fullName = "European Union Public License 1.2"; };
  fdl13Plus = { spdxId = "GFDL-1.3-or-later"; fullName = "GNU Free Documentation License v1.3 or later"; };
  free = { fullName = "Unspecified free software license"; };
  gpl1Only = { spdxId = "GPL-1.0-only"; fullName = "GNU General Public License v1.0 only"; };
  gpl1Plus = { spdxId = "GPL-1.0-or-later"; fullName = "GNU General Public License v1.0 or later"; };
  gpl2Only = { spdxId = "GPL-2.0-only"; fullName = "GNU General Public License v2.0 only"; };
  gpl2Plus = { spdxId = "GPL-2.0-or-later"; fullName = "GNU General Public License v2.0 or later"; };
  gpl3Only = { spdxId = "GPL-3.0-only"; fullName = "GNU General Public License v3.0 only"; };
  gpl3Plus = { spdxId = "GPL-3.0-or-later"; fullName = "GNU General Public License v3.0 or later"; };
  hpnd = { spdxId = "HPND"; fullName = "Historical Permission Notice and Disclaimer"; };
  isc = { spdxId = "ISC"; fullName = "ISC License"; };
  lgpl2Only = { spdxId = "LGPL-2.0-only"; fullName = "GNU Library General Public License v2 only"; };
  lgpl2Plus = { spdxId = "LGPL-2.0-or-later"; fullName = "GNU Library General Public License v2 or later"; };
  lgpl21Only = { spdxId = "LGPL-2.1-only"; fullName = "GNU Lesser General Public License v2.1 only"; };
  lgpl21Plus = { spdxId = "LGPL-2.1-or-later"; fullName = "GNU Lesser General Public License v2.1 or later"; };
  lgpl3Only = { spdxId = "LGPL-3.0-only"; fullName = "GNU Lesser General Public License v3.0 only"; };
  lgpl3Plus = { spdxId = "LGPL-3.0-or-later"; fullName = "GNU Lesser General Public License v3.0 or later"; };
  libpng = { spdxId = "Libpng"; fullName = "libpng License"; };
  libtiff = { spdxId = "libtiff"; fullName = "libtiff License"; };
  lppl13c = { spdxId = "LPPL-1.3c"; fullName = "LaTeX Project Public License v1.3c"; };
  mit = { spdxId = "MIT"; fullName = "MIT License"; };
  mit0 = { spdxId = "MIT-0"; fullName = "MIT No Attribution"; };
  mpl10 = { spdxId = "MPL-1.0"; fullName = "Mozilla Public License 1.0"; };
  mpl11 = { spdxId = "MPL-1.1"; fullName = "Mozilla Public License 1.1"; };
  mpl20 = { spdxId = "MPL-2.0"; fullName = "Mozilla Public License 2.0"; };
  ncsa = { spdxId = "NCSA"; fullName = "University of Illinois/NCSA Open Source License"; };
  ofl = { spdxId = "OFL-1.1"; fullName = "SIL Open Font License 1.1"; };
  openssl = { spdxId = "OpenSSL"; fullName = "OpenSSL License"; };
  postgresql = { spdxId = "PostgreSQL"; fullName = "PostgreSQL License"; };
  psfl = { spdxId = "Python-2.0"; fullName = "Python Software Foundation License version 2"; };
  publicDomain = { fullName = "Public Domain"; };
  ruby = { spdxId = "Ruby"; fullName = "Ruby License"; };
  sendmail = { spdxId = "Sendmail"; fullName = "Sendmail License"; };
  sleepycat = { spdxId = "Sleepycat"; fullName = "Sleepycat License"; };
  unfree = { fullName = "Unfree"; free = false; };
  unfreeRedistributable = { fullName = "Unfree redistributable"; free = false; redistributable = true; };
  unfreeRedistributableFirmware = { fullName = "Unfree redistributable firmware"; free = false; redistributable = true; };
  unicode-dfs-2016 = { spdxId = "Unicode-DFS-2016"; fullName = "Unicode License Agreement - Data Files and Software (2016)"; };
  unlicense = { spdxId = "Unlicense"; fullName = "The Unlicense"; };
  upl = { spdxId = "UPL-1.0"; fullName = "Universal Permissive License 1.0"; };
  vim = { spdxId = "Vim"; fullName = "Vim License"; };
  w3c = { spdxId = "W3C"; fullName = "W3C Software Notice and License"; };
  wtfpl = { spdxId = "WTFPL"; fullName = "Do What The F*ck You Want To Public License"; };
  x11 = { spdxId = "X11"; fullName = "X11 License"; };
  zlib = { spdxId = "Zlib"; fullName = "zlib License"; };
  zpl21 = { spdxId = "ZPL-2.1"; fullName = "Zope Public License 2.1"; };
  # names without "only" or "or later"
  gpl2 = { spdxId = "GPL-2.0"; fullName = "GNU General Public License v2.0"; };
  gpl3 = { spdxId = "GPL-3.0"; fullName = "GNU General Public License v3.0"; };
  lgpl2 = { spdxId = "LGPL-2.0"; fullName = "GNU Library General Public License v2"; };
  lgpl21 = { spdxId = "LGPL-2.1"; fullName = "GNU Lesser General Public License v2.1"; };
  lgpl3 = { spdxId = "LGPL-3.0"; fullName = "GNU Lesser General Public License v3.0"; };
  agpl3 = { spdxId = "AGPL-3.0"; fullName = "GNU Affero General Public License v3.0"; };
}
