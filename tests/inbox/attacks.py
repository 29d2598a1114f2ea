"""What mails do to be noticed: each makes a request, runs a script or leaves its frame."""

# ruff: noqa: E501 - markup is told as it is
from __future__ import annotations

LISTENER = "http://127.0.0.1:LISTEN/"
"""``LISTEN`` is the port of a socket that counts who connects."""

U = LISTENER
ATTACKS = {
    "img": f"<img src={U}img>",
    "srcset": f"<img srcset='{U}srcset 1x'>",
    "stylesheet": f"<link rel=stylesheet href={U}css>",
    "import": f"<style>@import url({U}import);</style>",
    "background": f"<div style='background:url({U}background)'>x</div>",
    "background attribute": f"<table background={U}attribute><tr><td>x</table>",
    "font": f"<style>@font-face{{font-family:f;src:url({U}font)}} p{{font-family:f}}</style><p>x",
    "preconnect": f"<link rel=preconnect href={U}>",
    "dns-prefetch": f"<link rel=dns-prefetch href={U}>",
    "prefetch": f"<link rel=prefetch href={U}prefetch>",
    "preload": f"<link rel=preload as=image href={U}preload>",
    "modulepreload": f"<link rel=modulepreload href={U}module>",
    "icon": f"<link rel=icon href={U}icon>",
    "manifest": f"<link rel=manifest href={U}manifest>",
    "video": f"<video src={U}video poster={U}poster autoplay></video>",
    "audio": f"<audio src={U}audio autoplay></audio>",
    "object": f"<object data={U}object></object>",
    "embed": f"<embed src={U}embed>",
    "iframe": f"<iframe src={U}frame></iframe>",
    "iframe srcdoc": f"<iframe srcdoc='<img src={U}srcdoc>'></iframe>",
    "frameset": f"<frameset><frame src={U}frameset></frameset>",
    "input image": f"<form><input type=image src={U}input></form>",
    "svg image": f"<svg><image href={U}svg /></svg>",
    "svg use": f"<svg><use href='{U}use#x' /></svg>",
    "svg script": "<svg><script>document.title='pwned'</script></svg>",
    "script": f"<script src={U}script></script><script>document.title='pwned'</script>",
    "handler": "<img src=x onerror=\"document.title='pwned';alert(1)\">",
    "handler on body": "<body onload=\"document.title='pwned';alert(1)\">x",
    "meta refresh": f"<meta http-equiv=refresh content='0;url={U}refresh'>",
    "meta policy": f"<meta http-equiv=Content-Security-Policy content='report-uri {U}report'>",
    "base": f"<base href={U}><img src=base>",
    "form": f"<form action={U}form><button id=b>x</button></form><script>b.click()</script>",
    "ping": f"<a href={U}link ping={U}ping>x</a>",
    "top": f"<script>top.location='{U}top'</script><a target=_top href={U}top>x</a>",
    "speculation": (
        f'<script type=speculationrules>{{"prefetch":[{{"urls":["{U}spec"]}}]}}</script>'
    ),
    "javascript link": "<a href=\"javascript:document.title='pwned'\">x</a>",
    "mutation": f'<svg></p><style><a id="</style><img src={U}mutation onerror=alert(1)>">',
    "math mutation": (
        "<math><mtext><table><mglyph><style><!--</style>"
        f"<img title='--&gt;&lt;img src={U}math onerror=alert(1)&gt;'>"
    ),
    "noscript": (
        f'<noscript><p title="</noscript><img src={U}noscript onerror=alert(1)>"></noscript>'
    ),
    "template": f"<template><img src={U}template></template>",
    "css attribute": f"<style>a[href]{{background:url({U}css-attribute)}}</style><a href=x>x</a>",
    "image-set": f"<div style=\"background-image:image-set('{U}set' 1x)\">x</div>",
    "cursor": f"<div style='cursor:url({U}cursor),auto'>x</div>",
    "list image": f"<ul style='list-style-image:url({U}list)'><li>x</ul>",
    "picture": f"<picture><source srcset={U}picture><img src={U}pictured></picture>",
    "track": f"<video><track src={U}track default></video>",
}

# In the manner of what DOMPurify's tests, the cheat sheets of OWASP and html5sec try: each is our own.
SCRIPT = "document.title='pwned';alert(1)"
VECTORS = {
    # Handlers.
    "svg onload": f'<svg onload="{SCRIPT}">',
    "svg in svg": f'<svg><g/onload="{SCRIPT}"></svg>',
    "details": f'<details open ontoggle="{SCRIPT}">x</details>',
    "marquee": f'<marquee onstart="{SCRIPT}">x</marquee>',
    "autofocus": f'<input autofocus onfocus="{SCRIPT}">',
    "select": f'<select autofocus onfocus="{SCRIPT}">',
    "animation": f"<style>@keyframes a{{}}</style><b style='animation:a 1s' onanimationstart=\"{SCRIPT}\">x",
    "transition": f'<b style="transition:1s" ontransitionend="{SCRIPT}">x</b>',
    "media error": f'<video><source onerror="{SCRIPT}"></video><audio src=x onerror="{SCRIPT}">',
    "slash before the handler": f'<img/src=x/onerror="{SCRIPT}">',
    "upper case": f'<IMG SRC=x OnErRoR="{SCRIPT}">',
    "no quotes": "<img src=x onerror=document.title='pwned'>",
    "backticks": "<img src=`x` onerror=`document.title='pwned'`>",
    "entities": "<img src=x onerror=&#100;ocument.title&equals;'pwned'>",
    "NUL in the tag": f'<scr\0ipt>{SCRIPT}</scr\0ipt><img \0src=x onerror="{SCRIPT}">',
    "form feed": f'<img\x0csrc=x\x0conerror="{SCRIPT}">',
    "an attribute twice": f'<img src=x onerror="" onerror="{SCRIPT}">',
    "unclosed quote": f'<img src="x onerror="{SCRIPT}"><p title="',
    "unclosed tag": f'<img src=x onerror="{SCRIPT}"',
    "pointer": f'<b onpointerenter="{SCRIPT}" style="position:fixed;inset:0">x</b>',
    "popover": f'<button popovertarget=p>x</button><div popover id=p onbeforetoggle="{SCRIPT}">x',
    "scroll": f'<b onscrollend="{SCRIPT}" style="overflow:auto">x</b>',
    "content-visibility": f'<b oncontentvisibilityautostatechange="{SCRIPT}">x</b>',
    # Links, and what acts like one.
    "tab in javascript": f'<a href="java&#9;script:{SCRIPT}">x</a>',
    "line end in javascript": f'<a href="java&#10;script:{SCRIPT}">x</a>',
    "space before javascript": f'<a href=" \x01javascript:{SCRIPT}">x</a>',
    "named entity": f'<a href="javascript&colon;{SCRIPT}">x</a>',
    "data page": '<a href="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==">x</a>',
    "svg link": f'<svg><a xlink:href="javascript:{SCRIPT}"><text y=20>x</text></a></svg>',
    "animated link": (
        "<svg><a><animate attributeName=href "
        f'values="javascript:{SCRIPT}"/><text y=20>x</text></a></svg>'
    ),
    "set": f'<svg><a id=a><set attributeName=href to="javascript:{SCRIPT}"/></a></svg>',
    "math link": f'<math href="javascript:{SCRIPT}"><mtext>x</mtext></math>',
    "formaction": f'<form><button formaction="javascript:{SCRIPT}">x</button></form>',
    "form of another": f'<form id=f></form><button form=f formaction="{U}formaction">x</button>',
    "area": f'<map name=m><area href="javascript:{SCRIPT}" shape=default></map><img usemap=#m>',
    "base of script": '<base href="javascript:/a/-alert(1)///////"><a href=../x>x</a>',
    # What loads.
    "object data": '<object data="data:text/html,<script>alert(1)</script>"></object>',
    "embed data": '<embed src="data:image/svg+xml,<svg xmlns=http://www.w3.org/2000/svg onload=alert(1)/>">',
    "applet": f"<applet code={U}applet></applet>",
    "portal": f"<portal src={U}portal></portal><fencedframe src={U}fenced></fencedframe>",
    "frame by svg": f"<svg><foreignObject><iframe src={U}foreign></iframe></foreignObject></svg>",
    "svg feImage": f"<svg><filter id=f><feImage href={U}feimage /></filter><rect filter=url(#f) /></svg>",
    "svg use of data": "<svg><use href=\"data:image/svg+xml,<svg id='x' onload='alert(1)'/>#x\" /></svg>",
    "lowsrc": f"<img lowsrc={U}lowsrc dynsrc={U}dynsrc>",
    "image": f"<image src={U}image>",
    "sizes": f'<img sizes=1px srcset="{U}a 1w, {U}b 2w">',
    "preload images": f'<link rel=preload as=image imagesrcset="{U}imagesrcset">',
    "stylesheet by data": f'<link rel=stylesheet href="data:text/css,@import url({U}bydata)">',
    "prerender": f"<link rel=prerender href={U}prerender><link rel=next href={U}next>",
    "import": f"<link rel=import href={U}htmlimport>",
    "cookie": "<meta http-equiv=set-cookie content='a=b'><meta name=referrer content=unsafe-url>",
    "header of links": f'<meta http-equiv=Link content="<{U}link>; rel=preload; as=image">',
    "body background": f"<body background={U}body bgsound={U}sound><bgsound src={U}bgsound>",
    "td background": f"<table><tr><td background={U}td>x</td></tr></table>",
    "declarative shadow": (
        f'<div><template shadowrootmode=open><img src={U}shadow onerror="{SCRIPT}"></template></div>'
    ),
    "blob of a template": f"<template><script>{SCRIPT}</script></template>",
    # Style.
    "escaped import": f"<style>@\\69mport '{U}escaped';</style>",
    "escaped url": f"<b style='background:\\75rl({U}escapedurl)'>x</b>",
    "comment in url": f"<b style='background:u/**/rl({U}comment)'>x</b>",
    "font by style": f"<b style=\"font-family:f\">x</b><style>@font-face{{font-family:f;src:url('{U}f')}}</style>",
    "content": f"<style>b::after{{content:url({U}content)}}</style><b>x</b>",
    "mask": f"<b style='-webkit-mask:url({U}mask);mask-image:url({U}mask2)'>x</b>",
    "border": f"<b style='border-image:url({U}border) 1;shape-outside:url({U}shape)'>x</b>",
    "filter": f"<b style='filter:url({U}filter#x);clip-path:url({U}clip#x)'>x</b>",
    "cross-fade": f"<b style='background:cross-fade(url({U}fade1),url({U}fade2),50%)'>x</b>",
    "custom property": f"<b style='--a:url({U}custom);background:var(--a)'>x</b>",
    "attribute by attribute": (
        f"<style>input[value^=a]{{background:url({U}value)}}</style><input value=abc>"
    ),
    "src in place of url": f"<b style='background:src(\"{U}src\")'>x</b>",
    "namespace": f"<style>@namespace url({U}namespace); @charset 'x'; @import '{U}late';</style>",
    "counter": f"<style>@counter-style c{{system:cyclic;symbols:url({U}symbols)}}</style>",
    "expression": f'<b style="width:expression({SCRIPT});behavior:url({U}htc)">x</b>',
    "binding": f"<b style='-moz-binding:url({U}binding)'>x</b>",
    "style that ends early": f'<style>a{{}}</style/><img src=x onerror="{SCRIPT}"></style>',
    "style in an attribute": f"<b style=\"x:'</style><img src={U}styleattr onerror=alert(1)>'\">x</b>",
    # What is parsed one way, and then another.
    "noscript in title": f'<title><noscript></title><img src=x onerror="{SCRIPT}"></noscript>',
    "textarea": f'<textarea><img title="</textarea><img src=x onerror={SCRIPT}>"></textarea>',
    "xmp": f'<xmp><p title="</xmp><img src={U}xmp onerror=alert(1)>"></xmp>',
    "noembed": f'<noembed><p title="</noembed><img src={U}noembed onerror=alert(1)>"></noembed>',
    "noframes": f'<noframes><p title="</noframes><img src={U}noframes onerror=alert(1)>"></noframes>',
    "plaintext": f'<plaintext><img src={U}plaintext onerror="{SCRIPT}">',
    "iframe text": f'<iframe><p title="</iframe><img src={U}iframetext onerror=alert(1)>"></iframe>',
    "comment that is none": f'<!--><img src={U}comment1 onerror="{SCRIPT}">-->',
    "comment with a bang": f'<!-- --!><img src={U}comment2 onerror="{SCRIPT}">-->',
    "conditional comment": f"<!--[if gte mso 9]><img src={U}mso onerror=alert(1)><![endif]-->",
    "downlevel comment": f"<![if !mso]><img src={U}downlevel onerror=alert(1)><![endif]>",
    "CDATA": f"<![CDATA[<img src={U}cdata onerror=alert(1)>]]>",
    "CDATA in svg": f"<svg><![CDATA[><img src={U}cdatasvg onerror=alert(1)>]]></svg>",
    "processing instruction": f"<?xml-stylesheet href={U}pi ?><?php echo '<img src={U}php>' ?>",
    "entity declaration": f"<!DOCTYPE x [<!ENTITY e SYSTEM '{U}entity'>]><p>&e;",
    "svg style": f'<svg><style><img title="</style><img src={U}svgstyle onerror=alert(1)>"></style>',
    "svg title": f"<svg><title><style><img title='</style></title><img src={U}svgtitle onerror=alert(1)>'>",
    "desc": f'<svg><desc><noscript><img title="</noscript></desc><img src={U}desc onerror=alert(1)>">',
    "mglyph": (
        "<form><math><mtext></form><form><mglyph><svg><mtext><style>"
        f'<path id="</style><img src={U}mglyph onerror=alert(1)>">'
    ),
    "annotation-xml": (
        '<math><annotation-xml encoding="text/html"><style>'
        f'<img title="</style><img src={U}annotation onerror=alert(1)>"></annotation-xml></math>'
    ),
    "table in math": (
        "<math><mi><table><mi><mglyph><style><!--</style>"
        f'<img title="--&gt;&lt;img src={U}mathtable onerror=alert(1)&gt;">'
    ),
    "nested forms": f'<form><div></form><form><p id="</form><img src={U}nested onerror=alert(1)>">',
    "select in svg": f"<svg><select><style><img title='</style><img src={U}selectsvg onerror=alert(1)>'>",
    "many levels": "<div>" * 520
    + f"<svg><style><img src={U}levels onerror=alert(1)></style></svg>",
    "UTF-7": "+ADw-script+AD4-document.title='pwned'+ADw-/script+AD4-",
    "half-width": "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "clobbering": "<form name=location><input name=href></form><img name=body><a id=defaultView>",
    "is": f'<b is=x-y onx="{SCRIPT}">x</b><x-y onclick="{SCRIPT}">x</x-y>',
    "slot and part": f'<slot onslotchange="{SCRIPT}"><b part=x slot=y>x</b></slot>',
    "namespaced script": "<svg:script>alert(1)</svg:script><x:script xmlns:x=http://www.w3.org/1999/xhtml>",
    "script of data": "<script type=module src='data:text/javascript,alert(1)'></script>",
    "importmap": f'<script type=importmap>{{"imports":{{"x":"{U}map"}}}}</script>',
    "webbundle": f'<script type=webbundle>{{"source":"{U}bundle"}}</script>',
    "attribution": f"<img attributionsrc={U}attribution><a attributionsrc={U}attribution2 href=x>x</a>",
    "shared storage": f"<img src={U}shared sharedstoragewritable browsingtopics>",
}
